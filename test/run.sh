#!/bin/bash
# Every suite, one after the other; `make test` calls it. usage: test/run.sh [SUITE...]
# All of the suites of others (`make suites`, hours) are no part of it.
# Each suite closes with `name: N passed, N failed`, and after a comma what it skipped; the last line adds them up. A suite
# that ends otherwise than by its exit code and that line says counts as one failure.
set -u
cd "$(dirname "$0")/.." || exit
export MAKEFLAGS="-j$(nproc)"    # suites build much, and run one after the other
declare -A suite=(
    [lint]="test/lint.sh"
    [model]="test/model/run.sh"
    [unit]="make -s unit-tests"
    [stress]="make -s stress-tests"
    [faults]="make -s fault-tests"
    [inject]="make -s inject-tests"
    [traps]="make -s trap-tests"
    [storms]="make -s storm-tests"
    [pages]="make -s page-tests"
    [cross]="make -s cross-tests"
    [fuzz]="make -s fuzz-tests"
    [pressure]="make -s pressure-tests"
    [sleep]="make -s sleep-tests"
    [live]="make -s live-tests"
    [programs]="test/preload/run.sh"
    [command]="test/command/run.sh"
    [suites]="make -s suite-tests"
)
order=(lint unit stress faults inject traps storms pages cross fuzz pressure sleep live programs command suites model)
[ $# -eq 0 ] || order=("$@")

log=$(mktemp) model_log=$(mktemp) failures=$(mktemp) model=
trap 'rm -f "$log" "$model_log" "$failures"; [ -z "$model" ] || kill "$model" 2>/dev/null' EXIT
# The models take two processors for a minute and a half, and their time does not matter: they go on behind all others.
if [[ " ${order[*]} " == *" model "* ]]; then
    nice -n 19 ${suite[model]} >"$model_log" 2>&1 &
    model=$!
fi
# What a suite's output ($log) says of its failures, with the lines indented below each; if nothing, the output's end.
what_failed() {
    echo "$1:"
    awk '/^(FAIL|\[FAIL|\[----\])/ { told = more = 1; lines = 0; print "  " $0; next }
         /^[ \t]/ && more && ++lines <= 20 { print "  " $0; next }
         { more = 0 }
         END { exit !told }' "$log" || tail -n 20 "$log" | sed 's/^/  /'
}
passed=0 failed=0
for name in "${order[@]}"; do
    echo "== $name"
    began=$SECONDS
    if [ "$name" = model ]; then
        wait "$model"
        code=$?
        model=
        tee "$log" <"$model_log"
    else
        ${suite[$name]} 2>&1 | tee "$log"
        code=${PIPESTATUS[0]}
    fi
    # Criterion's own closing line counts crashes apart.
    counts=$(sed -nE -e 's/.*: ([0-9]+) passed, ([0-9]+) failed(, [0-9]+ skipped: .*)?$/\1 \2/p' \
        -e 's/.*Passing: ([0-9]+) \| Failing: ([0-9]+) \| Crashing: ([0-9]+).*/\1 \2 \3/p' "$log")
    suite_passed=$(awk '{n += $1} END {print n + 0}' <<<"$counts")
    suite_failed=$(awk '{n += $2 + $3} END {print n + 0}' <<<"$counts")
    if [ "$code" -ne 0 ] && [ "$suite_failed" -eq 0 ] || [ "$suite_passed" -eq 0 ]; then
        echo "FAIL  $name ended with exit code $code and without its counts" | tee -a "$failures"
        suite_failed=$((suite_failed + 1))
    fi
    passed=$((passed + suite_passed)) failed=$((failed + suite_failed))
    [ "$suite_failed" -eq 0 ] || what_failed "$name" >>"$failures"
    echo "== $name took $((SECONDS - began)) s"
done
if [ -s "$failures" ]; then
    echo "== failed"
    cat "$failures"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
