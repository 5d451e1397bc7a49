#!/usr/bin/env bash
# torture.sh [SECONDS] -- runs torture (build/tests/torture) in every configuration
#
# Without an argument: about 6 to 12 seconds each, under two minutes in all.  With one: that many
# seconds each, and more thread counts (make torture).  TORTURE_SEED chooses the random numbers.
# First the program itself is tried under AddressSanitizer, without the library (torture_plain.h).
# Prints lines that begin ok or FAIL.
set -euo pipefail
cd "$(dirname "$0")/../.."
long=${1:-}
seed=${TORTURE_SEED:-$$}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ulimit -c 0
failures=0

# attempt NAME SECONDS COMMAND...
attempt() {
    local name=$1 limit=$2 status=0
    shift 2
    {
        timeout -s ABRT -k 5 "$limit" "$@" > "$log" 2>&1 || status=$?
    } 2> /dev/null
    grep '^SKIP' "$log" || true
    if [ "$status" -eq 0 ]; then
        printf 'ok %s\n' "$name"
        [ -z "$long" ] || sed -n 's/^torture:/     &/p' "$log"
    else
        failures=$((failures + 1))
        printf 'FAIL %s (status %d, TORTURE_SEED=%s)\n' "$name" "$status" "$seed"
        grep -v '^gc [0-9]' "$log" | tail -n 30 | sed 's/^/     /'
    fi
}

# torture THREADS SECONDS DEBUG [ENVIRONMENT...]
torture() {
    local threads=$1 seconds=${long:-$2} debug=$3
    shift 3
    attempt "torture $threads threads ${seconds}s $debug ${*:-}" $((seconds + 90)) \
        env "$@" GCALLOC_DEBUG="$debug" \
        build/tests/torture --threads "$threads" --seconds "$seconds" --seed "$seed"
}

mkdir -p build/tests
attempt "compile torture (asan, without the library)" 60 "${CC:-gcc}" -std=gnu17 -O1 -g \
    -fno-builtin -DPLAIN -fsanitize=address,undefined -Wall -Wextra -Iinclude \
    -o build/tests/torture_plain tests/stress/torture.c -lpthread -ldl
# No forks: a child of the sanitizer's own allocator may find its locks taken.
attempt "torture (asan, without the library)" 60 \
    build/tests/torture_plain --threads 4 --seconds 4 --forks 0 --seed "$seed"

check=gccheckmark=1,poison=1
torture 2 10 "$check,gcstress=256"
torture 8 12 "$check,gcstress=256,verify=1"
torture 64 12 "$check,gcstress=1024"
torture 4 6 poison=1
torture 4 8 poison=1,gcstress=256,verify=1      # frees are fast, which gccheckmark forbids
torture 4 8 "$check,gcstress=64,workers=16,hugepages=2"
torture 4 8 "$check,gcstress=256,mark=2,hugepages=2"
torture 4 6 "$check,gcstress=256,mark=3"
torture 4 8 "$check,gcstress=256" GCALLOC_BARRIER=pages
torture 4 8 "$check,gcstress=256" GCALLOC_MODE=manual
torture 4 6 "$check,gcstress=256,failvm=5"
torture 4 6 "$check,gcstress=256,hardened=1"
if [ -n "$long" ]; then
    torture 4 0 "$check,gcstress=64"
    torture 16 0 "$check,gcstress=512"
    torture 32 0 "$check,gcstress=1024,verify=1"
    torture 64 0 "$check,gcstress=1024" GCALLOC_BARRIER=pages
    torture 8 0 "$check,gcstress=256,noworkers=1"
fi
[ "$failures" -eq 0 ]
