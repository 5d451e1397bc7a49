# PURPOSE: a daemon that starts as root and drops its privileges is made undumpable by the kernel,
#   which closes much of /proc/self to it; what it leaks must be reclaimed all the same.
NEEDS="gcc"

prepare() {
    [ "$(id -u)" = 0 ] || skip "only root can drop its privileges"
    compile "$IN/leak" leak.c -pthread
}

run() {
    local peak
    "$IN/leak" 600 setuid >out
    grep kept out
    peak=$(sed -n 's/^peak \([0-9]*\) MiB/\1/p' out)
    if [ -z "${LD_PRELOAD:-}" ] || [ -n "${PRELOAD_NO_GC:-}" ] || [ "$peak" -lt 300 ]; then
        echo "peak as expected"
    else
        echo "peak $peak MiB"
    fi
}
