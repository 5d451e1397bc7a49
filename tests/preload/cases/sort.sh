# PURPOSE: sort with two threads over 30 MB of lines, stable and by keys.
NEEDS="sort awk"
STRESS=64
MODES="preload stress manual"
WEIGHT=5

prepare() {
    awk 'BEGIN { srand(7); for (i = 0; i < 600000; i++)
        printf "%08d %s%d line of text\n", rand() * 1e8, substr("abcdefgh", i % 8), i }' \
        >"$IN/lines"
}

run() {
    sort --parallel=2 -S 40M "$IN/lines" | sha256sum
    sort --parallel=2 -S 4M -k2,2 -k1,1nr "$IN/lines" | sha256sum
    head -n 50000 "$IN/lines" | sort -s -u -k1.1,1.3 | sha256sum
    sort -c "$IN/lines" 2>&1
    echo "unsorted input: status $?"
}
