# PURPOSE: blocks whose only pointer is in an odd place survive: epoll data, timers, TLS, mappings.
NEEDS="gcc"
STRESS=32

prepare() {
    compile "$IN/plugin.so" plugin.c -shared -fPIC
    compile "$IN/roots" roots.c -pthread
}

run() { "$IN/roots" "$IN/plugin.so"; }
