#!/bin/bash
# PURPOSE: the public behaviour: builds the programs of this directory against the library and the
#   archive, and runs them under every mode that changes the way through the code.
# USE: tests/api/run.sh, after make. CC, CXX and BUILD (default build) as for make.
# EXIT: 0 if everything passed. A missing C++ compiler is a loud SKIP.
set -eu

cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
CC=${CC:-cc}
CXX=${CXX:-g++}
OUT=$BUILD/tests/api
LIBRARY="-L$BUILD -lgcalloc -Wl,-rpath,$PWD/$BUILD"
WARN="-Wall -Wextra -Werror -Wno-unknown-warning-option -Wno-deprecated-declarations
    -Wno-use-after-free -Wno-alloc-size-larger-than"
failed=0
mkdir -p "$OUT"

# say NAME COMMAND... -- runs it with a limit; its output is shown only when it fails
say() {
    local name=$1 limit="timeout 120"
    shift
    [ "$(type -t "$1")" != function ] || limit=
    if $limit "$@" >"$OUT/log" 2>&1; then
        echo "ok   $name"
    else
        echo "FAIL $name (status $?)"
        sed 's/^/     /' "$OUT/log" | tail -n 40
        failed=$((failed + 1))
    fi
    grep '^SKIP' "$OUT/log" || true
}

# The header: alone, twice, in every dialect.
for dialect in c11 c17 c2x; do
    # shellcheck disable=SC2086
    say "header $dialect" "$CC" -std=$dialect -pedantic -O2 $WARN -Iinclude \
        -c tests/api/header.c -o "$OUT/header.o"
done

# The exported names: gc_* with their version, the malloc surface and the wrappers without.
exported() {
    nm -D --defined-only "$BUILD/libgcalloc.so" | awk '$2 != "A" { print $3 }'
}
versions() {
    ! exported | grep '^gc_' | grep -v '@@GCALLOC_1.0$' &&
        ! exported | grep -v '^gc_' | grep '@' &&
        exported | grep -qx malloc
}
say "symbol versions" versions

for test in malloc heap gcalloc memstats; do
    # shellcheck disable=SC2086
    say "compile $test" "$CC" -std=gnu17 -O1 -g -fno-builtin $WARN -Iinclude \
        tests/api/test_$test.c -o "$OUT/test_$test" $LIBRARY -lcmocka -lpthread -ldl
    for mode in GCALLOC_MODE=collect GCALLOC_MODE=manual GCALLOC_DEBUG=gcstress=256 \
        GCALLOC_DEBUG=hardened=1 GCALLOC_DEBUG=noworkers=1; do
        [ "$mode" = GCALLOC_MODE=collect ] && mode=GCALLOC_STATS=0      # the defaults
        say "$test $mode" env "$mode" "$OUT/test_$test"
    done
done

# shellcheck disable=SC2086
say "compile patience" "$CC" -std=gnu17 -O1 -g -fno-builtin $WARN -Iinclude \
    tests/api/patience.c -o "$OUT/patience" $LIBRARY
say "patience" env GCALLOC_HEAPMIN=32MiB "$OUT/patience"

# The first cycle and no other ends early; the collector checks itself.
fruitless() {
    GCALLOC_HEAPMIN=16MiB GCALLOC_DEBUG=gctrace=1,gccheckmark=1,verify=1 timeout 120 \
        "$OUT/fruitless" 2>"$OUT/fruitless.log" &&
        grep -q '^gc 1 .*(fruitless)' "$OUT/fruitless.log" &&
        [ "$(grep -c '(fruitless)' "$OUT/fruitless.log")" -eq 1 ]
}
# shellcheck disable=SC2086
say "compile fruitless" "$CC" -std=gnu17 -O1 -g -fno-builtin $WARN -Iinclude \
    tests/api/fruitless.c -o "$OUT/fruitless" $LIBRARY
say "fruitless" fruitless

if [ "$BUILD" = build ] || [ -d "$BUILD/obj" ]; then
    # shellcheck disable=SC2046,SC2086
    say "compile watch" "$CC" -std=gnu17 -O1 -g -fno-builtin $WARN -Iinclude -Isrc \
        tests/api/test_watch.c $(find "$BUILD/obj" -name '*.o') -o "$OUT/test_watch" \
        -lcmocka -lpthread -ldl
    say "watch" "$OUT/test_watch"
fi

if command -v "$CXX" >/dev/null; then
    # shellcheck disable=SC2086
    say "compile c++" "$CXX" -std=c++17 -fsized-deallocation -faligned-new -O1 -g -fno-builtin \
        $WARN -Iinclude tests/api/cxx.cc -o "$OUT/cxx" $LIBRARY -lpthread
    say "c++" "$OUT/cxx"
    say "c++ gcstress" env GCALLOC_DEBUG=gcstress=64 "$OUT/cxx"
else
    echo "SKIP api/cxx: no C++ compiler ($CXX)"
fi

# The archive: into a program, and into one without any shared library.
archive() {
    # shellcheck disable=SC2086
    "$CC" -O1 -fno-builtin -Iinclude tests/api/static.c -o "$OUT/$1" $2 \
        -Wl,--whole-archive "$BUILD/libgcalloc.a" -Wl,--no-whole-archive -lpthread -ldl
    "$OUT/$1"
}
say "archive" archive archive ""
say "archive -static" archive static -static

# What is printed, by a program with one forced cycle.
number='[0-9]+' ms='[0-9]+(\.[0-9]+)?'
line="gc $number @$number\.[0-9]{3}s $number%: $ms\+$ms\+$ms ms clock,"
line="$line $ms\+$ms/$ms/$ms\+$ms ms cpu,"
line="$line $number->$number->$number MB, $number MB goal, $number MB stacks, $number MB globals,"
line="$line $number P( \(forced\))? \[(userfaultfd|snapshot|stopped)\]"
trace_line() {
    GCALLOC_DEBUG=gctrace=1 "$OUT/archive" 2>"$OUT/trace" >/dev/null
    cat "$OUT/trace"
    grep -Eqx "$line" "$OUT/trace" && ! grep -Evx "$line" "$OUT/trace"
}
say "gctrace line" trace_line
summary() {
    GCALLOC_STATS=1 "$OUT/archive" 2>"$OUT/summary" >/dev/null
    cat "$OUT/summary"
    [ "$(grep -c '^libgcalloc: ' "$OUT/summary")" = 5 ] && [ "$(wc -l <"$OUT/summary")" = 5 ] &&
        grep -q ' 1 cycles (1 forced, 0 abandoned), ' "$OUT/summary"
}
say "summary at exit" summary

[ "$failed" = 0 ] && echo "api: all passed" || echo "api: $failed failed"
[ "$failed" = 0 ]
