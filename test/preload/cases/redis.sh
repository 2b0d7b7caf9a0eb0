# needs: redis-cli redis-benchmark redis-check-rdb awk
# A server under load, and then with known contents; BGSAVE forks while the heap is large. The
# server is the same file as redis-check-rdb and goes by its name; the socket keeps ports out of it.
server=$(command -v redis-server) || { ln -s "$(command -v redis-check-rdb)" redis-server; server=./redis-server; }

start() {
    "$server" --port 0 --unixsocket "$PWD/socket" --dir "$PWD" --save '' --daemonize no >>server.log &
    pid=$!
    trap 'kill $pid 2>/dev/null || true' EXIT
    for ((i = 0; i < 200; i++)); do
        [ "$(ask ping 2>/dev/null)" != PONG ] || return 0
        sleep 0.05
    done
    echo "the server does not answer"
    return 1
}
ask() { redis-cli -s socket "$@"; }
contents() {
    ask dbsize
    ask llen list
    ask hlen hash
    ask zrange scores 0 3 withscores
    ask mget key:1 key:49999 key:50000
    ask lrange list 0 -1 | cksum
}

start
mapped $pid
redis-benchmark -s socket -q -t set,get,lpush -n 60000 -r 10000 -P 8 -d 100 >benchmark.log
tr '\r' '\n' <benchmark.log | sed -n 's/^\(SET\|GET\|LPUSH\): .* requests per second.*/\1 done/p'
ask flushall
awk 'BEGIN {
    for (i = 0; i < 50000; i++) {
        printf "SET key:%d value-%0*d\r\n", i, i % 400 + 1, i
        printf "LPUSH list item%d\r\nHSET hash field%d %d\r\nZADD scores %d m%d\r\n", i, i, i * i, i * 7919 % 50021, i
    }
    for (i = 0; i < 50000; i++) if (i % 3) printf "DEL key:%d\r\n", i
}' | ask --pipe | grep -E '^errors'
contents
ask bgsave
ask set key:1 'changed while saving'
while ask info persistence | grep -q 'rdb_bgsave_in_progress:1'; do sleep 0.05; done
ask info persistence | grep rdb_last_bgsave_status
ask save
ask shutdown nosave
wait $pid && echo "the server ended with $?"
start
mapped $pid
contents
ask shutdown nosave
wait $pid && echo "the server ended with $?"
