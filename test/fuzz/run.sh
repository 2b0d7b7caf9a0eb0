#!/bin/bash
# Runs fuzz targets one after the other and closes with counts. usage: test/fuzz/run.sh BUILD LIMIT TARGET...
# LIMIT is libFuzzer's -runs=N or -max_total_time=S. Begins with the fixtures and with what earlier runs found; an input
# that breaks something is kept beside the program.
set -u
build=$1 limit=$2
shift 2
# Longer inputs cost time and find nothing where the text is one line; names and lines have buffers of 1 and 2 KiB to fill, though.
declare -A longest=([text]=128 [lines]=5000 [meminfo]=512 [cgroup]=2400 [level]=256 [pressure]=160 [options]=256 [watermark]=512 [idle]=512 [calls]=600)
passed=0 failed=0 inputs=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for target in "$@"; do
    mkdir -p "$build/corpus/$target"
    texts=(-dict=test/fuzz/words.dict test/fuzz/seeds test/fixtures)
    [ "$target" != calls ] || texts=()
    if "$build/$target" "$limit" -max_len="${longest[$target]}" -timeout=10 -print_final_stats=1 \
        -artifact_prefix="$build/$target-" "$build/corpus/$target" "${texts[@]}" >"$log" 2>&1; then
        passed=$((passed + 1)) inputs=$((inputs + $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$log")))
        echo "ok    $target: $(sed -n 's/^Done \([0-9]*\) runs in \([0-9]*\) second.*/\1 runs in \2 s/p' "$log")"
    else
        failed=$((failed + 1))
        echo "FAIL  $target"
        tail -40 "$log"
    fi
done
echo "inputs=$inputs"
echo "fuzz: $passed passed, $failed failed"
[ $failed -eq 0 ]
