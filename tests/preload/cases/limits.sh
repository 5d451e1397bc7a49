# PURPOSE: ulimit -v of 4 GiB: malloc ends in NULL and ENOMEM and recovers; python and perl run.
NEEDS="gcc perl python3"
MODES="preload stress manual"
STRESS=65536 # the program fills its whole address space three times
WEIGHT=2

prepare() { compile "$IN/limits" limits.c -pthread; }

run() {
    ulimit -v 4194304
    status "$IN/limits"
    status python3 "$SRC/objects.py"
    PERL_HASH_SEED=0 status perl "$SRC/mix.pl"
    ulimit -v 200000
    status ls "$IN"
    ulimit -d 100000
    status sort --version
}
