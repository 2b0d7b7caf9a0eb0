#!/bin/bash
# The model-based random test in its short form: 10 million operations with one thread, millions with several, and less under
# the sanitizers. usage: test/stress/run.sh DIRECTORY-OF-THE-PROGRAMS
set -u
programs=$1
passed=0 failed=0

# TSan needs its addresses laid out in its own way; personality() may be forbidden in a container.
run() {
    local name=$1; shift
    if "$@"; then echo "ok    $name"; passed=$((passed + 1)); else echo "FAIL  $name: $*"; failed=$((failed + 1)); fi
}

seed=${STRESS_SEED:-$((RANDOM + 1))}
run "10 million operations" "$programs/model" -n 10000000 -v 500000 -s "$seed"
run "2 threads" "$programs/model" -t 2 -n 2000000 -s "$seed"
run "8 threads, more than there are cores" "$programs/model" -t 8 -n 500000 -s "$seed"
run "AddressSanitizer and UBSan, 1 thread" "$programs/model-asan" -n 1000000 -s "$seed"
run "AddressSanitizer and UBSan, 3 threads" "$programs/model-asan" -t 3 -n 200000 -s "$seed"
run "ThreadSanitizer, 3 threads" setarch -R "$programs/model-tsan" -t 3 -n 100000 -v 10000 -s "$seed"
echo "stress: $passed passed, $failed failed"
[ $failed -eq 0 ]
