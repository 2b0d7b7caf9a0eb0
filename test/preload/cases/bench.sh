# needs: gcc sed
# The programs behind the tables of figures, as small as they go: each ends well and prints a number for each of its keys.
# Their values differ, their keys may not. And two of the tables.
bench=$PROGRAMS/../../bench

try() {         # program and its arguments
    echo "$*"
    "./$@" >output
    grep -q = output
    sed -E 's/=-?[0-9]+(\.[0-9]+)?$/=number/' output
    echo "$1" >>tried
}

for file in "$bench"/*.c; do
    name=$(basename "$file" .c)
    gcc -std=gnu17 -D_GNU_SOURCE -O1 -pthread -fno-builtin-malloc -fno-builtin-free -o "$name" "$file" -lm
done
try objects 90 2000
try buffers 90 200
try ring 2 1000
try rounds 1 6
try threads 4
try pair 1000
try mix 1000 1000
try edge 10000 1000
try wakeups 1000 100000 8
try reads 10000
try forked 2 1000
for kind in remote refill drop drop-2k; do try paths $kind 10000; done
for kind in random lognormal shifting; do try packing $kind 1 30; done
try scale live 1000 10000
try scale arenas 10 10000
try scale arenas 10 10000 near
try scale threads 8 10000
try costs 0 1
try costs 1 1
try launch /dev/stdout 0 ./pair 10
# Stock glibc keeps its headers where this one empties pages.
[ -z "$CASE_LIB" ] || ./scale lean 10 10000 >output

for file in "$bench"/*.c; do
    grep -qx "$(basename "$file" .c)" tried || { echo "$file is not tried" >&2; exit 1; }
done

LOWTIDE_BENCH_DIR=. LOWTIDE_BENCH_SCALE=1 LOWTIDE_BENCH_RUNS=1 "$PYTHON" "$bench/figures.py" costs fork >tables
grep '^|' tables | sed -E 's/[0-9.]+/number/g'
