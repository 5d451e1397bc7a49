#!/bin/bash
# PURPOSE: real programs must behave under LD_PRELOAD of the library exactly as without it.
# USE: tests/preload/run.sh [LIB] [case...]
#   LIB defaults to build/libgcalloc.so; cases are the names of cases/*.sh without the ending.
#   Each case runs without the library, with it, with it while it collects every 256 KiB
#   (GCALLOC_DEBUG=gcstress=256), and some with GCALLOC_MODE=manual.
#   How a case is written: harness.sh.
# ENVIRONMENT:
#   PRELOAD_NO_GC=1   LIB is a malloc without a collector: do not demand collections
#   PRELOAD_JOBS=N    cases at a time (default: 2, or 1 on one core)
#   PRELOAD_MODES=".." run only these of: preload stress manual (plain always runs)
#   PRELOAD_SLOWER=N  multiplies every time limit, for slow machines (default 1)
#   PRELOAD_STRESS=N  KiB between collections in every stress run, instead of what the cases say
#   PRELOAD_KEEP=1    keep the outputs also when everything passes
# OUTPUT: a line per case with the seconds of each run and the collections that the stress run did;
#   at the end `N passed, N failed, N skipped`. Exit status 1 if anything failed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
lib=

die() {
    echo "tests/preload: $*" >&2
    exit 2
}

list_cases() {
    (cd "$here/cases" && ls ./*.sh) | sed 's|^\./||; s|\.sh$||'
}

# A library that the dynamic linker refuses is only a warning on stderr; every case would then
# pass without testing anything.
check_library() {
    [ -f "$lib" ] || die "no such library: $lib"
    LD_PRELOAD=$lib /bin/cat /proc/self/maps 2>/dev/null | grep -qF "$lib" ||
        die "$lib is not loaded by LD_PRELOAD"
}

if [ $# -gt 0 ] && [ ! -f "$here/cases/$1.sh" ]; then
    lib=$1
    shift
fi
lib=$(realpath "${lib:-$here/../../build/libgcalloc.so}")
check_library

if [ $# -gt 0 ]; then
    cases=$(printf '%s\n' "$@" | sort -u)
else
    cases=$(list_cases)
fi
for name in $cases; do
    [ -f "$here/cases/$name.sh" ] || die "no such case: $name"
done

jobs=${PRELOAD_JOBS:-$(( $(nproc) > 1 ? 2 : 1 ))}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/preload.XXXXXX")
# Some cases drop their privileges and must still reach their scratch directory.
chmod 755 "$scratch"
mkdir "$scratch/results"
trap 'exit 130' INT TERM HUP

# The slow ones first, so that none of them is left alone at the end.
slow_first() {
    while read -r name; do
        printf '%s %s\n' "$(sed -n 's/^WEIGHT=//p' "$here/cases/$name.sh")" "$name"
    done | awk '{ print (NF > 1 ? $1 : 1), $NF }' | sort -k1,1nr -k2 | awk '{ print $2 }'
}

start=$(date +%s)
printf '%s\n' "$cases" | slow_first |
    xargs -r -P "$jobs" -I '{}' "$here/run-case.sh" "$lib" '{}' "$scratch" || true

# A runner that died without a verdict is a failure too.
for name in $cases; do
    [ -n "$(find "$scratch/results" -name "$name.*")" ] || {
        echo "FAIL $name: its runner died"
        touch "$scratch/results/$name.fail"
    }
done

count() { find "$scratch/results" -name "*.$1" | wc -l; }

passed=$(count pass) failed=$(count fail) skipped=$(count skip)
total=$(printf '%s\n' "$cases" | wc -l)
echo "preload: $total cases in $(($(date +%s) - start)) s, library $(basename "$lib")"
if [ "$failed" -gt 0 ] || [ -n "${PRELOAD_KEEP:-}" ]; then
    echo "outputs kept in $scratch"
else
    rm -rf "$scratch"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
