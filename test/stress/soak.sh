#!/bin/bash
# The model-based random test over and over, each time with another seed and number of threads, until SOAK_SECONDS (3600)
# have passed. Chunks of a soak are runs with another SOAK_SEED; the last line says how many operations were checked.
# usage: test/stress/soak.sh PROGRAM [-T SECONDS] [-s SEED]
set -u
program=$1 seconds=${SOAK_SECONDS:-3600} seed=${SOAK_SEED:-$RANDOM} runs=0 operations=0
shift
while getopts T:s: option; do
    case $option in T) seconds=$OPTARG ;; s) seed=$OPTARG ;; *) exit 2 ;; esac
done
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    left=$((end - SECONDS))
    run=(-t $((1 + seed % 5)) -T $((left < 30 ? left : 30)) -s "$seed")
    output=$("$program" "${run[@]}") || { echo "soak: failed after $runs runs: ${run[*]}"; exit 1; }
    operations=$((operations + ${output##*operations=}))
    seed=$((seed + 1)) runs=$((runs + 1))
done
echo "soak: $runs runs without a finding, the next seed is $seed"
echo "operations=$operations"
