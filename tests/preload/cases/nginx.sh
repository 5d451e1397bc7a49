# PURPOSE: nginx with two workers under ab, a reload by SIGHUP in the middle, an orderly end; every
#   request must be answered, and the bodies must be right.
NEEDS="nginx ab perl"
MODES="preload stress manual"
LIMIT=90
STRESS=16
WEIGHT=4

prepare() {
    mkdir "$IN/www"
    seq 200 >"$IN/www/small.txt"
    seq 60000 >"$IN/www/large.txt"
    chmod -R a+rX "$IN"
}

# A free loopback port; ab has no unix sockets.
free_port() {
    plainly perl -MIO::Socket::INET -e \
        'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'
}

fetch() { plainly perl "$SRC/fetch.pl" "$port" "$@"; }

# load PATH OPTION... -- prints what ab says about completeness
load() {
    local path=$1
    shift
    plainly ab -q -s 20 -l "$@" "http://127.0.0.1:$port$path" >"ab.$RANDOM" 2>&1
    echo "ab status $?"
    grep -hE '^(Complete requests|Failed requests|Non-2xx|apr_)' ab.*
    rm -f ab.*
}

# The workers and the manager of the cache.
workers() { plainly pgrep -P "$master"; }
reloaded() {
    local pid
    for pid in $old; do
        ! kill -0 "$pid" || return 1
    done
    [ "$(workers | wc -l)" -ge 2 ]
}

run() {
    port=$(free_port)
    sed -e "s|@PORT@|$port|; s|@WWW@|$IN/www|; s|@DIR@|$PWD|" "$SRC/nginx.conf" >nginx.conf
    nginx -t -q -c "$PWD/nginx.conf" -e stderr && echo "configuration is good"
    nginx -c "$PWD/nginx.conf" -e "$PWD/error.log" -g 'daemon off;' &
    master=$!
    trap 'kill $master 2>/dev/null' EXIT
    wait_until 20 fetch /small.txt || echo "no answer"
    load /small.txt -n 3000 -c 10 -k
    load /small.txt -n 5000 -c 20 >load.log &
    load=$!
    old=$(workers)
    kill -HUP $master
    wait_until 20 reloaded && echo "reloaded"
    wait $load
    cat load.log
    load /large.txt -n 200 -c 8 -H 'Accept-Encoding: gzip'
    load /proxy/small.txt -n 1500 -c 8
    fetch /large.txt | cmp - "$IN/www/large.txt" && echo "large body: same"
    fetch /proxy/large.txt | cmp - "$IN/www/large.txt" && echo "through the proxy: same"
    fetch /replaced/small.txt | sha256sum
    fetch /none.txt
    kill -QUIT $master
    wait $master
    echo "server left with status $?"
    # In the stress run the collector's trace goes where stderr goes.
    grep -vE '\[notice\]|^gc [0-9]+ @|^gc: cycle abandoned' error.log
    echo "errors logged: $?"
}
