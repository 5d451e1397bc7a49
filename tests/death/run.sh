#!/bin/bash
# PURPOSE: misuse of the heap ends the process with SIGABRT and one line that says what, where and
#   whose; memory of others and malformed knobs cost one warning.
# USE: tests/death/run.sh, after make. CC and BUILD (default build) as for make.
# EXIT: 0 if every case did what it must.
set -eu

cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
CC=${CC:-cc}
OUT=$BUILD/tests/death
failed=0
passed=0
mkdir -p "$OUT"
ulimit -c 0
"$CC" -std=gnu17 -O1 -g -fno-builtin -Wall -Wextra -Iinclude tests/death/misuse.c \
    -o "$OUT/misuse" -L"$BUILD" -lgcalloc -lpthread "-Wl,-rpath,$PWD/$BUILD" \
    -Wno-unused-result -Wno-free-nonheap-object -Wno-use-after-free

complain() {
    echo "FAIL $1: $2"
    echo "  environment: $3"
    echo "  expected:    $4"
    sed 's/^/  stderr:      /' "$OUT/err"
    failed=$((failed + 1))
}

# check NAME STATUS PATTERN [VARIABLE=VALUE...] -- runs a case; stderr must be exactly one line
# that matches "libgcalloc: PATTERN" whole, or nothing when the pattern is empty. ADDRESS in the
# pattern is the address that the case announced.
check() {
    local name=$1 status=$2 pattern=$3 got=0
    shift 3
    # The braces take bash's own "Aborted".
    { env "$@" timeout 20 "$OUT/misuse" "$name" >"$OUT/out" 2>"$OUT/err"; } 2>/dev/null || got=$?
    local address
    address=$(head -n 1 "$OUT/out")
    local expected="libgcalloc: ${pattern//ADDRESS/$address}"
    if [ "$got" != "$status" ]; then
        complain "$name" "exit status $got instead of $status" "$*" "$expected"
    elif [ -z "$pattern" ] && [ -s "$OUT/err" ]; then
        complain "$name" "a message where none should be" "$*" "nothing"
    elif [ -n "$pattern" ] && { [ "$(wc -l <"$OUT/err")" != 1 ] ||
            ! grep -Eqx -- "$expected" "$OUT/err"; }; then
        complain "$name" "another message" "$*" "$expected"
    else
        passed=$((passed + 1))
    fi
}

DEAD=134
THREAD='thread [0-9]+'
A=GCALLOC_TEST=1        # any variable: env needs nothing, check wants at least none

twice="double free of ADDRESS"
# Of a block whose pages are in no span any more, less is known.
never="free of ADDRESS, which was never allocated \($THREAD\)"
either="($twice \([0-9]+-byte block, $THREAD\)|$never)"
for mode in "$A" GCALLOC_MODE=manual GCALLOC_DEBUG=hardened=1; do
    check nothing 0 "" "$mode"
    check double_free $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_free_page $DEAD "$twice \(4096-byte block, $THREAD\)" "$mode"
    check double_free_large $DEAD "$either" "$mode"
    check double_free_later $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_free_much_later $DEAD "$either" "$mode"
    check double_free_after_realloc $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_gc_free $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_free_dead_thread $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_free_live_thread $DEAD "$twice \(64-byte block, $THREAD\)" "$mode"
    check double_free_live_thread_2000 $DEAD "$twice \(2048-byte block, $THREAD\)" "$mode"
    check interior $DEAD \
        "free of ADDRESS, which is inside a 64-byte block at 0x[0-9a-f]+ \($THREAD\)" "$mode"
    check interior_odd $DEAD \
        "free of ADDRESS, which is inside a 1024-byte block at 0x[0-9a-f]+ \($THREAD\)" "$mode"
    check interior_large $DEAD \
        "free of ADDRESS, which is inside a 1048576-byte block at 0x[0-9a-f]+ \($THREAD\)" "$mode"
    check never_allocated $DEAD "$never" "$mode"
    check realloc_freed $DEAD \
        "realloc of ADDRESS, which was freed \(64-byte block, $THREAD\)" "$mode"
    check realloc_interior $DEAD \
        "realloc of ADDRESS, which is inside a 64-byte block at 0x[0-9a-f]+ \($THREAD\)" "$mode"
    check realloc_never_allocated $DEAD \
        "realloc of ADDRESS, which was never allocated \($THREAD\)" "$mode"
    check foreign 0 "free of ADDRESS, which is not ours; ignored" "$mode"
    check realloc_foreign 0 "" "$mode"
done

# Malformed knobs: one warning, and the program runs.
for knob in GCALLOC_MODE=sometimes GCALLOC_GOGC=many GCALLOC_GOGC=1.5 GCALLOC_GOGC= \
    GCALLOC_GOGC=99999999999 GCALLOC_GOMEMLIMIT=1KB GCALLOC_GOMEMLIMIT=-1 \
    GCALLOC_GOMEMLIMIT="1 GiB" GCALLOC_GOMEMLIMIT=99999999TiB GCALLOC_HEAPMIN=lots \
    GCALLOC_HEAPMIN= GCALLOC_STATS=2; do
    check nothing 0 "$knob is malformed; ignored" "$knob"
done
check nothing 0 "GCALLOC_DEBUG: gctrace=x is malformed; ignored" GCALLOC_DEBUG=gctrace=x
check nothing 0 "GCALLOC_DEBUG: gctrace=3 is malformed; ignored" GCALLOC_DEBUG=gctrace=3
check nothing 0 "GCALLOC_DEBUG: workers=-1 is malformed; ignored" GCALLOC_DEBUG=workers=-1
check nothing 0 "GCALLOC_DEBUG: colour=1 is unknown; ignored" GCALLOC_DEBUG=gctrace=0,colour=1
check nothing 0 "GCALLOC_DEBUG: hardened has no value; ignored" GCALLOC_DEBUG=hardened,,
# Well-formed ones: no message.
for knob in GCALLOC_MODE=manual GCALLOC_GOGC=off GCALLOC_GOGC=-1 GCALLOC_GOGC=0 \
    GCALLOC_GOMEMLIMIT=off GCALLOC_GOMEMLIMIT=100MiB GCALLOC_GOMEMLIMIT=1000000000B \
    GCALLOC_HEAPMIN=0 GCALLOC_STATS=0 GCALLOC_DEBUG= GCALLOC_DEBUG=gctrace=0,workers=1; do
    check nothing 0 "" "$knob"
done

# AT_SECURE: the environment is not read, so a malformed knob goes unnoticed.
check_secure() {
    local dir=/tmp/gcalloc-secure.$$ got=0
    mkdir -m 755 "$dir"
    cp "$BUILD/libgcalloc.so" "$dir/libgcalloc.so.1"
    ln -s libgcalloc.so.1 "$dir/libgcalloc.so"
    "$CC" -O1 -Iinclude tests/death/misuse.c -o "$dir/misuse" -fno-builtin -w -L"$dir" -lgcalloc \
        -lpthread "-Wl,-rpath,$dir"
    chmod 755 "$dir/libgcalloc.so.1"
    chmod 4755 "$dir/misuse"
    GCALLOC_GOGC=many setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$dir/misuse" nothing >"$OUT/out" 2>"$OUT/err" || got=$?
    rm -rf "$dir"
    if [ "$got" != 0 ] || [ -s "$OUT/err" ]; then
        complain "secure" "status $got, or a message" "set-user-ID" "nothing"
    else
        passed=$((passed + 1))
    fi
}
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    check_secure
else
    echo "SKIP death/secure: needs root and setpriv"
fi

echo "death: $passed passed, $failed failed"
[ "$failed" = 0 ]
