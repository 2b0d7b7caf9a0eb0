#!/bin/bash
# The model-based random test over and over, each time with another seed and number of threads, until SOAK_SECONDS (3600)
# have passed. usage: test/stress/soak.sh PROGRAM
set -u
end=$((SECONDS + ${SOAK_SECONDS:-3600}))
seed=${SOAK_SEED:-$RANDOM} runs=0
while [ $SECONDS -lt $end ]; do
    seed=$((seed + 1))
    "$1" -t $((1 + seed % 5)) -n 4000000 -s $seed || { echo "soak: failed after $runs runs: -t $((1 + seed % 5)) -s $seed"; exit 1; }
    runs=$((runs + 1))
done
echo "soak: $runs runs without a finding"
