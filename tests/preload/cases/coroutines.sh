# PURPOSE: makecontext coroutines on mmap'd stacks that hold the only pointers; alternate stacks.
NEEDS="gcc"
STRESS=64
MODES="preload stress manual"

prepare() { compile "$IN/coroutines" coroutines.c; }

run() { "$IN/coroutines"; }
