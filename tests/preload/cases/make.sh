# PURPOSE: make -j2 with recursion, generated prerequisites, pattern rules and a failing target.
NEEDS="make gcc"
STRESS=64

run() {
    local i
    for i in $(seq 12); do echo "int f$i(void) { return $i; }" >"f$i.c"; done
    cp "$SRC/project.mk" Makefile
    make -s -j2 >log 2>&1
    echo "status $?"
    plainly ./all
    sort log
    touch f3.c
    make -s -j2 -n | sort
    make -s -j2 -k broken after 2>&1 | sort | grep -v 'Waiting for unfinished'
}
