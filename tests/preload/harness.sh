# PURPOSE: what a case may use, and the defaults of what it may say. Sourced by run-case.sh and
#   by exec-case.sh, never executed.
#
# A case is a file cases/NAME.sh that sets some of
#   NEEDS="prog ..."      programs without which the case is skipped
#   LIMIT=60              seconds that a single run may take
#   MODES="preload stress"  which runs beside the plain one; "manual" is the third
#   STRESS=256            KiB allocated between collections in the stress run
#   MIN_CYCLES=10         collections that the stress run must show at least
#   STDERR=compare        or ignore, for programs that print times or process numbers there
#   WEIGHT=1              cases with a higher weight are started first
# and defines
#   prepare() { ... }     optional: makes inputs in $IN, once, without the library
#   run() { ... }         the test: run in an empty directory, once per mode
#   normalise() { ... }   optional: filter for what run() wrote (both stdout and stderr)
# run() is executed by a bash that is itself not preloaded, but everything that it starts is, with
# C locale, UTC, Debian's own PATH and no stdin.

# shellcheck shell=bash disable=SC2034

NEEDS=
LIMIT=60
MODES="preload stress"
STRESS=256
MIN_CYCLES=10
STDERR=compare
WEIGHT=1

prepare() { :; }
normalise() { cat; }

# skip REASON -- from prepare(): this machine cannot run the case
skip() {
    echo "$*" >"$OUT/skip"
    exit 0
}

# plainly COMMAND -- without the library: for clients and checkers that are not under test
plainly() {
    env -u LD_PRELOAD -u GCALLOC_DEBUG -u GCALLOC_MODE "$@"
}

# untraced COMMAND -- with the library, but without the trace on stderr: for programs that read
# the stderr of their own children
untraced() {
    if [ -n "${GCALLOC_DEBUG:-}" ]; then
        env GCALLOC_DEBUG="${GCALLOC_DEBUG%,gctrace=1}" "$@"
    else
        "$@"
    fi
}

# status COMMAND -- runs it and prints its exit status, so that it is compared
status() {
    local rc=0
    "$@" || rc=$?
    echo "status $rc: $1"
}

# compile OUTPUT SOURCE FLAG... -- a program from src/ for prepare(), C or C++ by its ending
compile() {
    local output=$1 source=$2 driver=gcc
    shift 2
    case $source in *.cc) driver=g++ ;; esac
    $driver -O1 -g -Wall -Wextra -o "$output" "$SRC/$source" "$@"
}

# wait_until SECONDS COMMAND -- polls until it succeeds; 1 if it never does
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.05
    done
}

# stays_below MIB COMMAND -- a leaking program, which says at its end what it has kept, and its peak; without a
# collector any peak will do
stays_below() {
    local most=$1 peak
    shift
    "$@" >out
    grep kept out
    peak=$(sed -n 's/^peak \([0-9]*\) MiB/\1/p' out)
    if [ -z "${LD_PRELOAD:-}" ] || [ -n "${PRELOAD_NO_GC:-}" ] || [ "$peak" -lt "$most" ]; then
        echo "peak as expected"
    else
        echo "peak $peak MiB"
    fi
}
