#!/bin/bash
# Exhaustive check of the protocols (*.pml), then of the mutations: each one
# breaks a step and has to be found as an error.  Needs spin and a C compiler.
# usage: run.sh [soak]    soak: larger spaces, too; exit status 0 if all is well
set -u
export LC_ALL=C

models=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for tool in spin "${CC:-gcc}"; do
	command -v "$tool" >/dev/null || {
		echo "model: $tool not found" >&2
		echo 'model: 0 passed, 1 failed'
		exit 1
	}
done
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
: >"$dir/results"

# explore NAME MODEL OPTLEVEL HASHBITS DEFINES... -> $dir/NAME/out
explore() {
	local name=$1 model=$2 opt=$3 bits=$4
	shift 4
	mkdir "$dir/$name" && cd "$dir/$name" || return 1
	spin -a "$@" "$models/$model.pml" >out 2>&1 || return 1
	# Spin does not reduce what is provided for at every step.
	grep -q 'provided (\|unless {' "$models/$model.pml" && opt="$opt -DNOREDUCE"
	# shellcheck disable=SC2086 # options
	"${CC:-gcc}" -w $opt -DSAFETY -DCOLLAPSE -DMEMLIM=3000 -o pan pan.c \
		>out 2>&1 || return 1
	ulimit -t "$limit"      # seconds of processor time: the machine may be busy
	./pan -n -m20000 -w"$bits" >out 2>&1
}

states() { sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$1"; }

report() {     # pass|fail TEXT [OUTFILE]; one write, lines do not mix
	echo "$1" >>"$dir/results"
	if [ "$1" = pass ]; then
		printf 'ok    %s\n' "$2"
	else
		printf 'FAIL  %s\n%s\n' "$2" "$(head -n 20 "$3" 2>&1)"
	fi
}

# prove NAME MODEL TEXT HASHBITS DEFINES...: the whole space, no error
prove() {
	local name=$1 model=$2 text="$2, $3" out=$dir/$1/out
	shift 3
	(explore "$name" "$model" -O2 "$@")
	if grep -q 'errors: 0' "$out" &&
	   grep -q 'Full statespace search' "$out" &&
	   ! grep -Eq 'not completed|too small|out of memory' "$out"; then
		report pass "$text: $(states "$out") states, errors: 0"
	else
		report fail "$text" "$out"
	fi
	rm -rf "${dir:?}/$name"
}

# refute MODEL MUTATION: an assertion fails or a thread hangs.  What it takes is
# two threads, a pool and two operations each, what other models begin with, or
# what the model says behind `needs' where the mutation is.
refute() {
	local model=$1 mutation=$2 out=$dir/$1-$2/out needs
	needs=$(sed -n "s|.*def $mutation .*needs \(-D[^*]*[^* ]\).*|\1|p" "$models/$model.pml" | head -n 1)
	# shellcheck disable=SC2086 # words
	(explore "$model-$mutation" "$model" -O1 20 ${needs:-$usual} -D"$mutation")
	if grep -Eq 'errors: [1-9]' "$out" &&
	   grep -Eq 'assertion violated|invalid end state \(' "$out"; then
		report pass "$model, $mutation: found after $(states "$out") states"
	else
		report fail "$model, $mutation: not found" "$out"
	fi
	rm -rf "${dir:?}/$model-$mutation"
}

two() {
	prove two_a pool '2 threads, 2 pools, 2 operations each, any start' 24 \
		-DTHREADS=2 -DPOOLS=2 -DOPS=2
	prove two_b pool '2 threads, 2 pools, 3 operations each, fresh start' 24 \
		-DTHREADS=2 -DPOOLS=2 -DOPS=3 -DSTART_FRESH
	prove slab_two slab '2 threads, 1 pool, 2 operations each, any start' 23 \
		-DTHREADS=2 -DPOOLS=1 -DOPS=2
}

other() {
	prove lend lend '2 tenders, a handler, 3 sleeps' 20
	prove fork fork '2 workers, 2 operations each, a fork' 22
	prove patient fork 'the same without locks, and nobody gives up waiting' 22 \
		-DPATIENT -DNO_LOCKS
}

three() {
	prove three pool '3 threads, 1 pool, 1+1+2 operations, any start' 25 \
		-DTHREADS=3 -DPOOLS=1 -DOPS=1 -DEXTRA=1
	prove twice pool '2 threads, 1 pool, 3 operations each, a block returned twice' 24 \
		-DTWICE -DTHREADS=2 -DPOOLS=1 -DOPS=3
	prove two_c pool '2 threads, 1 pool, 5 operations each, any start' 24 \
		-DTHREADS=2 -DPOOLS=1 -DOPS=5
}

soak() {
	prove fork_two fork '2 workers, 2 operations each, 2 forks' 24 -DFORKERS=2
	prove slab_three slab '3 threads, 1 pool, 1 operation each, any start' 25 \
		-DTHREADS=3 -DPOOLS=1 -DOPS=1
	prove slab_pools slab '2 threads, 2 pools, 1 operation each, any start' 25 \
		-DTHREADS=2 -DPOOLS=2 -DOPS=1
}

# Every mutation named in a model, two at a time.
mutations() {
	local model=$1 m named
	named=$(grep -oE '#if(n)?def MUT_[A-Z_]+' "$models/$model.pml" | grep -oE 'MUT_.*' | sort -u)
	for m in $named; do
		while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
		echo >>"$dir/expected"
		refute "$model" "$m" &
	done
}

usual='-DTHREADS=2 -DPOOLS=1 -DOPS=2'
limit=300 proofs=9
if [ "${1:-}" = soak ]; then
	limit=7200 proofs=$((proofs + 3))
	soak
fi
{ two; other; } & three & wait
for model in pool slab lend fork; do mutations "$model"; done
wait

passed=$(grep -c pass "$dir/results")
failed=$(grep -c fail "$dir/results")
expected=$((proofs + $(wc -l <"$dir/expected")))
[ $((passed + failed)) -eq "$expected" ] || failed=$((expected - passed))
echo "model: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
