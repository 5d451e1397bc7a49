# PURPOSE: a program that keeps what fontconfig has made, where pointers are distances, and leaks 900 MiB: it
#   must stay small, and what it keeps must stay.
NEEDS="gcc fc-list"
STRESS=4096
LIMIT=120

prepare() {
    compile "$IN/fonts" fonts.c -pthread -ldl
    ldconfig -p | grep -q libfontconfig.so.1 || skip "there is no libfontconfig.so.1"
}

run() { stays_below 600 "$IN/fonts" 900; }
