# needs: redis-cli redis-benchmark redis-check-rdb awk
# Rounds of sets of random sizes and random deletes, saved by a forked child while they go on, beside a benchmark in another
# database. The digest of the whole database is the same, also after the server has read its file; the note says what was resident.
server=$(command -v redis-server) || { ln -s "$(command -v redis-check-rdb)" redis-server; server=./redis-server; }
ask() { redis-cli -s socket "$@"; }
answers() { [ "$(ask ping)" = PONG ]; }
start() {
    serve "$server" --port 0 --unixsocket "$PWD/socket" --dir "$PWD" --save '' --daemonize no --activedefrag no --enable-debug-command local
    await answers
    mapped $pid
}
saved() { ask info persistence | grep -q 'rdb_bgsave_in_progress:0'; }
resident() { awk '/^Rss/ {print int($2 / 1024)}' /proc/$pid/smaps_rollup; }
round() {       # number
    awk -v seed="$1" 'BEGIN {
        srand(seed)
        for (i = 0; i < 40000; i++) {
            k = int(rand() * 200000); n = int(exp(rand() * 8))
            what = rand()
            if (what < 0.7) printf "SET s:%d %0*d\r\n", k, n, i
            else if (what < 0.8) printf "APPEND s:%d %0*d\r\n", k, n % 100 + 1, i
            else if (what < 0.87) printf "HSET h:%d f%d %0*d\r\n", k % 2000, i % 200, n % 200 + 1, i
            else if (what < 0.94) printf "LPUSH l:%d %0*d\r\nRPOP l:%d\r\n", k % 2000, n % 300 + 1, i, (k + 7) % 2000
            else printf "ZADD z:%d %d m%d\r\nSADD set:%d %d\r\n", k % 500, i, i % 300, k % 500, i
        }
        for (i = 0; i < 35000; i++) printf "DEL s:%d\r\n", int(rand() * 200000)
    }' | ask --pipe | grep -E '^errors'
}

start
redis-benchmark -s socket --dbnum 1 -q -t set,get,lpush,lpop,hset,spop,sadd,zadd -l -n 50000 -r 20000 -P 16 -d 300 >benchmark.log 2>&1 &
load=$!
trap 'kill $load $pid 2>/dev/null; wait' EXIT
for ((i = 1; i <= ${ROUNDS:-40}; i++)); do
    [ $((i % 4)) != 0 ] || ask bgsave >>saves
    round $i
done
kill $load
await saved
ask info persistence | grep rdb_last_bgsave_status
ask -n 1 flushdb
ask dbsize
digest=$(ask debug digest)
full=$(resident)
ask save
ask shutdown nosave
wait $pid && echo "the server ended with $?"
start
[ "$(ask debug digest)" = "$digest" ] && echo "the digest is $digest"
ask --scan --pattern 's:*' | sort | awk 'NR % 10 {print "UNLINK", $1}' | ask | sort | uniq -c
sleep 2
note "resident: $full MB, $(resident) with 90 % of the strings deleted; used: $(ask info memory | sed -n 's/^used_memory_human:\([^\r]*\).*/\1/p')"
digest=$(ask debug digest)
ask debug reload
[ "$(ask debug digest)" = "$digest" ] && echo "the digest is $digest"
