# PURPOSE: a program that closes all descriptors, works on with threads and forks, and must get the
#   low descriptor numbers and leave nothing of ours in its own file.
NEEDS="gcc"
MIN_CYCLES=2 # only what runs before the descriptors are closed is traced
STRESS=32
MODES="preload stress manual"

prepare() { compile "$IN/descriptors" descriptors.c -pthread; }

run() {
    status "$IN/descriptors" traced.out
    # In the run above the trace may have gone into the program's file, whose number is 0, not 2.
    cat traced.out
    status untraced "$IN/descriptors" untraced.out
    cat untraced.out
    status sh -c '"$0" sh.out <&- >&- 2>&-' "$IN/descriptors"
    cat sh.out
}
