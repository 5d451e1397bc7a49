# PURPOSE: the opposite check: a program that leaks 600 MiB must stay small with the library, so
#   that the other cases are known to run with a collector that reclaims.
NEEDS="gcc"

prepare() { compile "$IN/leak" leak.c -pthread; }

run() {
    local peak
    "$IN/leak" 600 >out
    grep kept out
    peak=$(sed -n 's/^peak \([0-9]*\) MiB/\1/p' out)
    if [ -z "${LD_PRELOAD:-}" ] || [ -n "${PRELOAD_NO_GC:-}" ] || [ "$peak" -lt 300 ]; then
        echo "peak as expected"
    else
        echo "peak $peak MiB"
    fi
}
