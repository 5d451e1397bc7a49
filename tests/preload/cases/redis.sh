# PURPOSE: redis-server (preloaded, with jemalloc beneath) under redis-benchmark, BGSAVE in the
#   middle of it, then a restart from the file: the data set must be the same to the byte.
# redis-tools holds the server too: redis-server and redis-check-rdb are one binary in Debian.
NEEDS="redis-benchmark redis-cli redis-check-rdb"
STRESS=32
MODES="preload stress manual"
LIMIT=90
WEIGHT=6

prepare() { ln -s "$(command -v redis-check-rdb)" "$IN/redis-server"; }

cli() { plainly redis-cli -s "$PWD/sock" "$@"; }

start() {
    "$IN/redis-server" --port 0 --unixsocket "$PWD/sock" --dir "$PWD" --save '' --loglevel warning \
        --enable-debug-command yes --activerehashing yes &
    server=$!
    wait_until 20 cli ping || echo "server does not answer"
}

stop() {
    cli shutdown "$1"
    wait $server
    echo "server left with status $?"
}

load() {
    plainly redis-benchmark -s "$PWD/sock" -q -c 20 -P 4 "$@" >bench.log 2>&1
    echo "benchmark status $?: $*"
}

background_save_done() { cli info persistence | grep -q rdb_bgsave_in_progress:0; }

run() {
    server=
    trap '[ -z "$server" ] || kill $server 2>/dev/null' EXIT
    start
    awk 'BEGIN {
        for (i = 1; i <= 8000; i++) printf "SET key:%d value-of-%d-and-some-more-bytes\n", i, i
        for (i = 1; i <= 2000; i++) printf "HSET hash:%d a %d b two c three\n", i, i
        for (i = 1; i <= 4000; i++) printf "ZADD board %d member%d\n", i * 7919 % 4001, i
    }' | cli | sort | uniq -c
    load -n 12000 -r 3000 -d 300 -t set,get,incr
    load -n 6000 -t lpush,rpop >beside.out &
    cli bgsave
    load -n 8000 -r 3000 -t sadd,hset,zadd
    load -n 1000 -t lrange_100
    wait $!
    cat beside.out
    wait_until 30 background_save_done && cli lastsave | grep -c .
    cli info persistence | tr -d '\r' | grep -E '^rdb_last_bgsave_status'
    cli eval 'local n = 0
        for i = 1, 8000 do n = n + #redis.call("GET", "key:" .. i) end return n' 0
    seq -f 'DEL key:%g' 1 3 8000 | cli | sort | uniq -c
    cli get key:2
    cli hgetall hash:1000
    cli zrevrange board 0 3
    before=$(cli debug digest)
    stop save
    start
    [ "$before" = "$(cli debug digest)" ] && echo "the same after the restart"
    cli zcard board
    cli flushall
    cli dbsize
    stop nosave
}

# The first line of a background save, and what depends on time.
normalise() { grep -avE '^(Background saving|[0-9]+:[CMS] )'; }
