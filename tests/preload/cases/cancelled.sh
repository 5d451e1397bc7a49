# PURPOSE: a thread that is cancelled inside initgroups does not leave the collector suspended.
NEEDS="gcc"
STRESS=32

prepare() {
    compile "$IN/libgroups.so" cancelled_groups.c -shared -fPIC
    compile "$IN/cancelled" cancelled.c -pthread -ldl -L"$IN" -lgroups "-Wl,-rpath,$IN"
}

run() { "$IN/cancelled"; }
