#!/bin/bash
# PURPOSE: one case in all its modes, and the verdict. Started by run.sh as
#   run-case.sh LIB NAME SCRATCH; leaves SCRATCH/results/NAME.{pass,fail,skip} and prints one report
#   in one write, because several of these run at a time.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
SRC=$HERE/src
lib=$1 name=$2 results=$3/results
OUT=$3/$name
IN=$OUT/in
mkdir -p "$OUT" "$IN"
chmod 755 "$OUT" "$IN"
export HERE SRC OUT IN

# shellcheck source=tests/preload/harness.sh
. "$HERE/harness.sh"
# shellcheck disable=SC1090
. "$HERE/cases/$name.sh"

STRESS=${PRELOAD_STRESS:-$STRESS}
unset LD_PRELOAD GCALLOC_DEBUG GCALLOC_MODE GCALLOC_GOGC GCALLOC_GOMEMLIMIT GCALLOC_HEAPMIN
unset MAKEFLAGS MFLAGS MAKELEVEL
export LC_ALL=C TZ=UTC HOME=$OUT/home PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Found in /proc/PID/environ of every process of this case.
export PRELOAD_CASE_ID="$name-$$-$RANDOM"
mkdir -p "$HOME"

report=
say() { report+="$*"$'\n'; }

# finish VERDICT -- prints the report and leaves
finish() {
    touch "$results/$name.$1"
    printf '%s' "$report"
    [ "$1" = fail ] || [ -n "${PRELOAD_KEEP:-}" ] || rm -rf "$OUT"
    exit 0
}

for program in $NEEDS; do
    command -v "$program" >/dev/null || {
        say "SKIP $name: $program is not installed (see tests/install.sh)"
        finish skip
    }
done

# strays -- processes of this case that outlived their run
strays() {
    local environ pid
    for environ in /proc/[0-9]*/environ; do
        pid=${environ#/proc/} pid=${pid%/environ}
        [ "$pid" = $$ ] || [ "$pid" = $BASHPID ] ||
            ! grep -qsF "PRELOAD_CASE_ID=$PRELOAD_CASE_ID" "$environ" || echo "$pid"
    done
}

# settle MODE -- a moment for the last children to exit; what is left is killed and counted
settle() {
    local left pid
    for _ in 1 2 3 4 5 6 7 8; do
        left=$(strays_of_run)
        [ -n "$left" ] || break
        sleep 0.25
    done
    echo "$left" | grep -c . >"$OUT/strays.$1" || true
    for pid in $left; do
        kill -KILL "$pid" 2>/dev/null || true
    done
}

# The run's own bash helpers (this script and its subshells) carry no id of a run.
strays_of_run() { PRELOAD_CASE_ID=$PRELOAD_CASE_ID.run strays; }

# strip MODE STREAM -- takes the collector's trace out, wherever it got in between
strip() {
    perl -0777 -pe 's/gc \d+ @[\d.]+s [^\n]*\n//g; s/gc: cycle abandoned: [^\n]*\n//g' \
        <"$OUT/$2.$1.raw" | { normalise || true; } >"$OUT/$2.$1"
}

# traced PATTERN -- how many lines of the stress run's trace match
traced() { cat "$OUT/stdout.stress.raw" "$OUT/stderr.stress.raw" | grep -Eac "$1" || true; }

# execute MODE -- one run; leaves stdout, stderr, status, strays and seconds in $OUT
execute() {
    local rc=0 begin end limit=$((LIMIT * ${PRELOAD_SLOWER:-1}))
    rm -rf "$OUT/run"
    mkdir "$OUT/run"
    cd "$OUT/run"
    begin=$(date +%s%N)
    PRELOAD_CASE_ID=$PRELOAD_CASE_ID.run timeout -k 5 "$limit" "$HERE/exec-case.sh" \
        "$name" "$lib" "$1" "$STRESS" \
        >"$OUT/stdout.$1.raw" 2>"$OUT/stderr.$1.raw" </dev/null || rc=$?
    end=$(date +%s%N)
    cd "$OUT"
    settle "$1"
    echo $rc >"$OUT/status.$1"
    strip "$1" stdout
    strip "$1" stderr
    seconds=$(((end - begin) / 10000000))
    seconds=$((seconds / 100)).$(printf %02d $((seconds % 100)))
    chmod -R u+rwX "$OUT/run" 2>/dev/null || true
}

# compare MODE WHAT -- against the plain run; 1 if different
compare() {
    cmp -s "$OUT/$2.plain" "$OUT/$2.$1" && return 0
    say "  $1: $2 differs (< without, > with the library):"
    say "$(diff -a "$OUT/$2.plain" "$OUT/$2.$1" | head -n 20 | cut -c 1-300 | sed 's/^/    /')"
    return 1
}

# judge MODE -- 1 if it differs from the plain run, or if the library complained
judge() {
    local good=0
    compare "$1" status || good=1
    [ "$(cat "$OUT/status.$1")" != 124 ] || say "  $1: TIMED OUT"
    compare "$1" stdout || good=1
    compare "$1" strays || good=1
    if [ "$STDERR" = compare ]; then
        compare "$1" stderr || good=1
    elif grep -aE 'gcalloc: |ERROR: ld.so' "$OUT/stderr.$1" >"$OUT/complaints.$1"; then
        say "  $1: $(head -n 5 "$OUT/complaints.$1")"
        good=1
    fi
    return $good
}

# judge_cycles -- 1 if the stress run cannot have tested the collector
judge_cycles() {
    local n abandoned
    n=$(traced 'gc [0-9]+ @[0-9.]+s ')
    abandoned=$(traced 'gc: cycle abandoned: ')
    times+=" ($n cycles"
    [ "$abandoned" = 0 ] || times+=", $abandoned abandoned"
    times+=")"
    [ -z "${PRELOAD_NO_GC:-}" ] || return 0
    if [ "$n" -lt "$MIN_CYCLES" ]; then
        say "  stress: $n collections, at least $MIN_CYCLES expected"
        return 1
    elif [ "$abandoned" -gt $((n / 2 + 2)) ]; then
        say "  stress: most collections were abandoned:"
        say "    $(grep -ahm 1 'cycle abandoned' "$OUT"/*.stress.raw)"
        return 1
    fi
}

seconds='' times=''
set +e
(set -e; prepare) >"$OUT/prepare.log" 2>&1
prepared=$?
set -e
if [ $prepared != 0 ]; then
    say "FAIL $name: its preparation failed: $(tail -n 3 "$OUT/prepare.log")"
    finish fail
fi
if [ -e "$OUT/skip" ]; then
    say "SKIP $name: $(cat "$OUT/skip")"
    finish skip
fi

execute plain
times="plain $seconds"
if [ "$(cat "$OUT/status.plain")" != 0 ]; then
    say "  it fails without the library, status $(cat "$OUT/status.plain"):"
    say "$(tail -n 10 "$OUT/stderr.plain")"
    report="FAIL $name: $times"$'\n'$report
    finish fail
fi

verdict=pass
for mode in $MODES; do
    case " ${PRELOAD_MODES:-$MODES} " in *" $mode "*) ;; *) continue ;; esac
    execute "$mode"
    times+=", $mode $seconds"
    judge "$mode" || verdict=fail
    [ "$mode" != stress ] || judge_cycles || verdict=fail
done

if [ $verdict = pass ]; then
    report="PASS $name: $times"$'\n'$report
else
    report="FAIL $name: $times"$'\n'$report
fi
finish $verdict
