# The frame of a case: run by run.sh as `bash -eu prelude.sh CASE`, in an empty directory, once
# plain (CASE_LIB empty) and once with the library preloaded (CASE_LIB its path). A case prints what
# must come out the same both times; its own process and whatever it starts have the preload.
#
# What a case may use: $PYTHON, $PROGRAMS (the folder of helper programs), and those below.
set -o pipefail

# Dies unless the process has the library mapped. Without this, a preload that ld.so could not
# load, or a program that starts its children with a clean environment, would compare equal.
mapped() {      # pid
    [ -z "$CASE_LIB" ] || grep -qF " $CASE_LIB" "/proc/$1/maps" ||
        { echo "process $1 has not mapped $CASE_LIB" >&2; exit 99; }
}

# Adds to the case's line in the report; is no part of what is compared.
note() { echo "$*" >>note; }

# Becomes a command, as nobody where we are root, who owns the case's directory from then on. For `serve`, and for subshells.
unprivileged() {
    [ "$(id -u)" = 0 ] || exec "$@"
    chown -R 65534:65534 .
    exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Waits until a command succeeds, at most 30 s.
await() {
    for ((i = 0; i < 300; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "in vain: $*" >&2
    return 1
}

# Starts a server, whose output goes to server.log; it is gone when the case ends, however it does. Sets $pid.
serve() {
    "$@" >>server.log 2>&1 &
    pid=$!
    trap 'kill $pid 2>/dev/null && wait $pid' EXIT
}

mapped $$
. "$1"
