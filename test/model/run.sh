#!/bin/bash
# Exhaustive check of the pool protocol (pool.pml), then of the mutations: each
# one breaks a step of the protocol and has to be found as an error.
# Needs spin and a C compiler.  No arguments; exit status 0 if all is well.
set -u
export LC_ALL=C

model=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/pool.pml
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

# explore NAME OPTLEVEL HASHBITS DEFINES... -> $dir/NAME/out
explore() {
	local name=$1 opt=$2 bits=$3
	shift 3
	mkdir "$dir/$name" && cd "$dir/$name" || return 1
	spin -a "$@" "$model" >out 2>&1 || return 1
	"${CC:-gcc}" -w "$opt" -DSAFETY -DCOLLAPSE -DMEMLIM=3000 -o pan pan.c \
		>out 2>&1 || return 1
	timeout 300 ./pan -n -m20000 -w"$bits" >out 2>&1
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

# prove NAME TEXT HASHBITS DEFINES...: the whole space, no error
prove() {
	local name=$1 text=$2 out=$dir/$1/out
	shift 2
	(explore "$name" -O2 "$@")
	if grep -q 'errors: 0' "$out" &&
	   grep -q 'Full statespace search' "$out" &&
	   ! grep -Eq 'not completed|too small|out of memory' "$out"; then
		report pass "$text: $(states "$out") states, errors: 0"
	else
		report fail "$text" "$out"
	fi
	rm -rf "${dir:?}/$name"
}

# refute MUTATION: an assertion fails or a thread hangs
refute() {
	local out=$dir/$1/out
	(explore "$1" -O0 20 -DTHREADS=2 -DPOOLS=1 -DOPS=2 -D"$1")
	if grep -Eq 'errors: [1-9]' "$out" &&
	   grep -Eq 'assertion violated|invalid end state \(' "$out"; then
		report pass "$1: found after $(states "$out") states"
	else
		report fail "$1: not found" "$out"
	fi
	rm -rf "${dir:?}/$1"
}

two() {
	prove two_a '2 threads, 2 pools, 2 operations each, any start' 24 \
		-DTHREADS=2 -DPOOLS=2 -DOPS=2
	prove two_b '2 threads, 2 pools, 3 operations each, fresh start' 24 \
		-DTHREADS=2 -DPOOLS=2 -DOPS=3 -DSTART_FRESH
}

three() {
	prove three '3 threads, 1 pool, 1+1+2 operations, any start' 25 \
		-DTHREADS=3 -DPOOLS=1 -DOPS=1 -DEXTRA=1
	prove two_c '2 threads, 1 pool, 5 operations each, any start' 24 \
		-DTHREADS=2 -DPOOLS=1 -DOPS=5
}

two & three & wait

# Every mutation named in the model, two at a time.
mutations=$(grep -oE '#if(n)?def MUT_[A-Z_]+' "$model" | grep -oE 'MUT_.*' | sort -u)
for m in $mutations; do
	while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n; done
	refute "$m" &
done
wait

passed=$(grep -c pass "$dir/results")
failed=$(grep -c fail "$dir/results")
expected=$((4 + $(wc -w <<<"$mutations")))
[ $((passed + failed)) -eq "$expected" ] || failed=$((expected - passed))
echo "model: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
