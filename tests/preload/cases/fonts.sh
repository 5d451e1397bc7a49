# PURPOSE: a program that keeps what fontconfig has made, where pointers are distances, and leaks 900 MiB: it
#   must stay small, and what it keeps must stay.
NEEDS="gcc fc-list"
STRESS=4096
LIMIT=120

prepare() {
    compile "$IN/fonts" fonts.c -pthread -ldl
    ldconfig -p | grep -q libfontconfig.so.1 || skip "there is no libfontconfig.so.1"
}

run() {
    local peak
    "$IN/fonts" 900 >out
    grep kept out
    peak=$(sed -n 's/^peak \([0-9]*\) MiB/\1/p' out)
    if [ -z "${LD_PRELOAD:-}" ] || [ -n "${PRELOAD_NO_GC:-}" ] || [ "$peak" -lt 600 ]; then
        echo "peak as expected"
    else
        echo "peak $peak MiB"
    fi
}
