#!/usr/bin/env bash
# mutations.sh [ADVERSARY] -- would a broken write barrier or broken dirty-page tracking be noticed?
#
# Runs torture_adversary (build/tests/torture_adversary) under gccheckmark: as it is, with every
# way of marking, it must survive; with one mechanism broken by mutate=N it must die of gccheckmark.
# Prints lines that begin ok, FAIL or SKIP.
set -euo pipefail
cd "$(dirname "$0")/../.."
adversary=${1:-build/tests/torture_adversary}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ulimit -c 0
failures=0

verdict() {
    printf '%s %s\n' "$1" "$2"
    if [ "$1" = FAIL ]; then
        failures=$((failures + 1))
        grep -v '^gc [0-9]' "$log" | tail -n 15 | sed 's/^/     /'
    fi
}

# run SCENE SECONDS DEBUG [ENVIRONMENT...] -- leaves output in $log, exit status in $status
run() {
    local scene=$1 seconds=$2 debug=$3
    shift 3
    status=0
    # The shell's own line about an abort goes nowhere.
    {
        env "$@" GCALLOC_DEBUG="gctrace=1,gccheckmark=1,poison=1,$debug" timeout $((seconds + 20)) \
            "$adversary" "$scene" --seconds "$seconds" > "$log" 2>&1 || status=$?
    } 2> /dev/null
}

# marked METHOD -- whether the cycles of the last run were marked so
marked() { grep -q "^gc [0-9].*\[$1\]" "$log"; }

# survive METHOD SCENE SECONDS DEBUG [ENVIRONMENT...] -- nothing is lost, nothing is reported
survive() {
    local method=$1 name="adversary $2 survives: $4 ${*:5}"
    run "${@:2}"
    if [ "$status" -ne 0 ] || grep -q 'gccheckmark:' "$log"; then
        verdict FAIL "$name (status $status)"
    elif ! marked "$method"; then
        verdict SKIP "$name: cycles are not marked by $method here"
    else
        verdict ok "$name ($(grep -o '[0-9]* cycles' "$log" | tail -n 1))"
    fi
}

# die SCENE DEBUG -- a message of gccheckmark, and the process ends; on a busy machine after some seconds
die() {
    local name="adversary $1 dies: $2"
    run "$1" 40 "$2"
    if [ "$status" -eq 0 ]; then
        verdict FAIL "$name (it survived)"
    elif grep -q 'gccheckmark:' "$log"; then
        verdict ok "$name ($(grep -c '^gc [0-9]' "$log" || true) cycles)"
    else
        verdict FAIL "$name (status $status, but not of gccheckmark)"
    fi
}

for scene in barrier heap block roots bss; do
    survive userfaultfd "$scene" 2 mark=1,verify=1
done
for scene in barrier heap roots; do
    survive snapshot "$scene" 1 mark=2
    survive stopped "$scene" 1 mark=3
done
run heap 0 mark=1
if marked userfaultfd; then
    survive userfaultfd discipline 2 mark=1 GCALLOC_BARRIER=pages
    die discipline mark=1
    die barrier mark=1,mutate=1
    die heap mark=1,mutate=2
    die block mark=1,mutate=2
    die roots mark=1,mutate=3
    die bss mark=1,mutate=3
else
    verdict SKIP "mutations: without userfaultfd there is nothing to break"
fi
[ "$failures" -eq 0 ]
