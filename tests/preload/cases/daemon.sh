# PURPOSE: daemon(3): the program goes on in a child without descriptors, with threads.
NEEDS="gcc"
STRESS=32
MODES="preload stress manual"

prepare() { compile "$IN/daemon" daemon.c -pthread; }

run() {
    status "$IN/daemon" result
    wait_until 30 test -e done || echo "the daemon did not finish"
    cat result
}
