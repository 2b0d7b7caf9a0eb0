# The frame of a case: run by run.sh as `bash -eu prelude.sh CASE`, in an empty directory, once
# plain (CASE_LIB empty) and once with the library preloaded (CASE_LIB its path). A case prints what
# must come out the same both times; its own process and whatever it starts have the preload.
#
# What a case may use: $PYTHON, $PROGRAMS (the folder of helper programs), and the two below.
set -o pipefail

# Dies unless the process has the library mapped. Without this, a preload that ld.so could not
# load, or a program that starts its children with a clean environment, would compare equal.
mapped() {      # pid
    [ -z "$CASE_LIB" ] || grep -qF " $CASE_LIB" "/proc/$1/maps" ||
        { echo "process $1 has not mapped $CASE_LIB" >&2; exit 99; }
}

# Adds to the case's line in the report; is no part of what is compared.
note() { echo "$*" >>note; }

mapped $$
. "$1"
