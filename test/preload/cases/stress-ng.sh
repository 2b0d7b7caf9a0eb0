# needs: stress-ng
# Its malloc stressor fills blocks with a pattern and checks it; every option of it that exists on
# all supported releases.
run() {
    if stress-ng --temp-path . --verify --timeout 5 "$@" >log 2>&1; then
        echo "$*: passed"
    else
        echo "$*: exit code $?"
        cat log >&2
    fi
}
run --malloc 2 --malloc-ops 20000 --malloc-bytes 64M
run --malloc 2 --malloc-ops 10000 --malloc-bytes 64M --malloc-touch --malloc-pthreads 3
