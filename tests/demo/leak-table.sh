#!/bin/sh
# leak-table.sh: the leak table of README: programs that really leak, without and with the library.
#
# PURPOSE: what `make leak-table` runs. Markdown on stdout, progress on stderr; every figure comes
# from this run. Exit status 1 when a program failed, printed something else with the library, or
# no collection ran. A program that is not installed, or does not leak in its version here, gives a
# SKIP row with the reason. LEAK_RUNS is the number of runs (default 3), LEAK_MIB replaces how much
# every program leaks.
#
# The third program is Debian 12's jq 1.6: ltrimstr of anything but a string leaks the error value
# of its inner startswith (upstream pull request 2977, fixed in 1.8): two blocks, about 96 bytes of
# heap a number.
set -eu

demo_root=$(cd "$(dirname "$0")/../.." && pwd)
. "$demo_root/tests/demo/demo.sh"

runs=${LEAK_RUNS:-3}
JQ_BYTES_PER_NUMBER=96

progress() { echo "leak-table: $*" >&2; }

row_skip() { echo "| $1 | **SKIP**: $2 | | | | | | |"; progress "SKIP $1: $2"; }

# row_fail TITLE REASON -- a row that nobody can overlook; remembered for the exit status
row_fail() {
    echo "| $1 | **FAIL**: $2 | | | | | | |"
    progress "FAIL $1: $2"
    failed=1
}

# measure NAME INPUT COMMAND... -- all runs, the two modes taking turns; fails at the first failed
# run
measure() {
    name=$1 input=$2
    shift 2
    run=1
    while [ "$run" -le "$runs" ]; do
        for mode in without with; do
            progress "$name, $mode, run $run of $runs"
            broken=$name.$mode.$run # unless what follows succeeds
            demo_run "$name.$mode.$run" $mode "$@" <"$input" || return 1
            cmp -s "$demo_work/$name.without.1.out" "$demo_work/$name.$mode.$run.out" ||
                return 2
            # Compared: only the first is still needed, and jq's output is large.
            if [ "$run.$mode" != 1.without ]; then : >"$demo_work/$name.$mode.$run.out"; fi
        done
        run=$((run + 1))
    done
}

# over NAME MODE FIGURE -- FIGURE (a demo_ function) of every run, one a line
over() {
    run=1
    while [ "$run" -le "$runs" ]; do
        "$3" "$1.$2.$run"
        run=$((run + 1))
    done
}

highest() { sort -n | tail -n 1; }

# row_figures NAME TITLE -- peaks and stops: the worst of all runs; times and cycles: the median
row_figures() {
    without=$(over "$1" without demo_peak_mib | highest)
    with=$(over "$1" with demo_peak_mib | highest)
    slow=$(over "$1" with demo_wall_s | demo_median)
    plain=$(over "$1" without demo_wall_s | demo_median)
    cycles=$(over "$1" with demo_cycles | demo_median)
    stop=$(over "$1" with demo_gctrace | demo_longest_stop_ms)
    if [ $((without * 2)) -lt "$mib" ]; then
        row_skip "$2" "peaks at $without MiB without the library: its version here does not leak"
    elif [ "$cycles" -eq 0 ]; then
        row_fail "$2" "no collection ran"
    else
        awk -v title="$2" -v without="$without" -v with="$with" -v plain="$plain" -v slow="$slow" \
            -v cycles="$cycles" -v stop="$stop" 'BEGIN {
            printf "| %s | %d MiB | %d MiB | %.1f", title, without, with, without / (with + !with)
            printf " | %.2f s | %.2f | %d | %s |\n", plain, slow / (plain + !plain), cycles, stop }'
    fi
}

# row NAME TITLE INPUT COMMAND... -- measures one program and prints its row
row() {
    row_name=$1 title=$2
    shift 2
    result=0
    measure "$row_name" "$@" || result=$?
    case $result in
    0) row_figures "$row_name" "$title" ;;
    1) row_fail "$title" "$broken: $(demo_explain "$broken" | tr '\n' ' ')" ;;
    *) row_fail "$title" "$broken printed something else than the first run without the library" ;;
    esac
    rm -f "$demo_work/$row_name".*
}

row_threads() {
    mib=$(demo_budget_mib "${LEAK_MIB:-4096}")
    demo_build leaky_threads -pthread
    row threads "C, 4 threads (tests/demo/leaky_threads.c)" /dev/null \
        "$demo_work/leaky_threads" "$mib" 4
}

row_python() {
    mib=$(demo_budget_mib "${LEAK_MIB:-2048}")
    python=$(demo_python)
    title="python3 + ctypes (tests/demo/leaky.py)"
    if [ -n "$python" ]; then
        row python "$title" /dev/null "$python" "$demo_here/leaky.py" "$mib"
    else
        row_skip "$title" "no python3 with ctypes is installed"
    fi
}

row_jq() {
    mib=$(demo_budget_mib "${LEAK_MIB:-768}")
    if ! command -v jq >/dev/null 2>&1; then
        row_skip "jq 'ltrimstr(\"id-\")'" "jq is not installed"
        return
    fi
    numbers=$((mib * 1048576 / JQ_BYTES_PER_NUMBER))
    awk -v n="$numbers" 'BEGIN { for (i = 1; i <= n; i++) printf "%d\n", i }' >"$demo_work/numbers"
    row jq "$(jq --version): \`jq 'ltrimstr(\"id-\")'\`, $numbers numbers" "$demo_work/numbers" \
        jq 'ltrimstr("id-")'
    rm -f "$demo_work/numbers"
}

table_head() {
    echo "| program | peak RSS without | peak RSS with | times less | time without |" \
        "time ratio (median of $runs) | cycles | longest stop ms |"
    echo "|---|--:|--:|--:|--:|--:|--:|--:|"
}

demo_start
failed=0
table_head
row_threads
row_python
row_jq
echo
echo "$(nproc) cores, $(awk '/^MemTotal:/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB," \
    "Linux $(uname -r | cut -d- -f1), $($demo_cc --version | head -n 1)"
exit $failed
