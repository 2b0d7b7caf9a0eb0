#!/bin/bash
# The README's two commands on a bare system: a minimal Debian is made in a temporary directory,
# the committed tree is copied in, and scripts/demo and scripts/test run there, where not even a
# compiler is installed. Needs root and debootstrap; about 1 GB of disk.
#
# usage: test/debootstrap.sh [COMMAND...]      default: scripts/demo, then scripts/test
#   SUITE=stable  MIRROR=http://deb.debian.org/debian  TMPDIR=/var/tmp
#
# Everything mounted is mounted in a mount namespace of its own, and everything started is started
# in a process namespace of its own: both are gone when the run ends, however it ends, and what is
# left to remove is a directory tree without mounts.
set -eu
cd "$(dirname "$0")/.."

suite=${SUITE:-stable}
mirror=${MIRROR:-http://deb.debian.org/debian}
[ $# -gt 0 ] || set -- scripts/demo scripts/test

fail() { echo "test/debootstrap.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "needs root"
command -v debootstrap >/dev/null || fail "needs debootstrap: apt-get install debootstrap"

top=$(mktemp -d "${TMPDIR:-/var/tmp}/lowtide-debootstrap.XXXXXX")
root=$top/root
trap 'rm -rf --one-file-system "$top"' EXIT
trap 'exit 130' INT TERM

make_system() {
    debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$top/debootstrap.log" 2>&1 ||
        { tail -20 "$top/debootstrap.log" >&2; fail "debootstrap of $suite failed"; }
}

# A proxy or a private mirror of the host must serve inside too: apt's settings and credentials go
# in, its sources stay out, since they may name another release.
copy_network_settings() {
    for name in apt.conf apt.conf.d auth.conf auth.conf.d; do
        [ ! -e "/etc/apt/$name" ] || cp -rT "/etc/apt/$name" "$root/etc/apt/$name"
    done
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
}

copy_tree() {
    mkdir "$root/lowtide"
    git archive HEAD | tar -x -C "$root/lowtide"
}

# Only the proxy's variables enter; the rest of the environment is that of a fresh login.
enter() {
    unshare --mount --propagation private --pid --fork --kill-child bash -eu -c '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount --rbind /sys "$root/sys"
        exec chroot "$root" /bin/sh -c "cd /lowtide && exec \"\$@\"" sh "$@"' enter "$root" \
        env -i HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
        ${no_proxy:+"no_proxy=$no_proxy"} "$@"
}

run_command() {
    local started=$SECONDS
    echo "== $* =="
    if enter "$@"; then
        echo "== $*: passed in $((SECONDS - started)) s =="
    else
        echo "== $*: FAILED with exit code $? after $((SECONDS - started)) s =="
        failed=1
    fi
}

failed=0
echo "== debootstrap $suite =="
make_system
copy_network_settings
copy_tree
enter sh -c '. /etc/os-release
    echo "$PRETTY_NAME, $(dpkg-query -f . -W | wc -c) packages, gcc: $(command -v gcc || echo none)"'
for command; do
    run_command $command
done
exit $failed
