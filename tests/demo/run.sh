#!/bin/sh
# run.sh: the main job on show: leaking programs without and with the library, memory over time.
#
# PURPOSE: what `make demo` runs. Fails when a program behaves differently with the library, when no
# collection ran, or when its memory did not stay bounded. Needs only a C compiler and awk; python3
# if there. DEMO_MIB is how much each program leaks (default 768, at most a quarter of the
# available memory).
set -eu

demo_root=$(cd "$(dirname "$0")/../.." && pwd)
. "$demo_root/tests/demo/demo.sh"

# show_gctrace RUN -- the first and the last few cycles of a run
show_gctrace() {
    demo_gctrace "$1" >"$demo_work/gctrace"
    lines=$(awk 'END { print NR }' "$demo_work/gctrace")
    if [ "$lines" -le 7 ]; then
        sed 's/^/    /' "$demo_work/gctrace"
    else
        sed -n '1,3s/^/    /p' "$demo_work/gctrace"
        echo "    ... $((lines - 6)) more ..."
        tail -n 3 "$demo_work/gctrace" | sed 's/^/    /'
    fi
}

# check NAME -- what a working library guarantees; a reason on stdout if it does not hold
check() {
    cmp -s "$demo_work/$1.without.out" "$demo_work/$1.with.out" ||
        echo "the output differs: $(cat "$demo_work/$1.with.out")"
    [ "$(demo_cycles "$1.with")" -gt 0 ] || echo "no collection ran"
    [ $(($(demo_peak_mib "$1.with") * 4)) -le $(($(demo_peak_mib "$1.without") * 3)) ] ||
        echo "the memory did not stay bounded"
}

# show NAME TITLE COMMAND... -- both runs of a program, the plot, the cycles, the conclusion
show() {
    name=$1 title=$2
    shift 2
    for mode in without with; do
        demo_run "$name.$mode" $mode "$@" ||
            { echo "FAIL: $title, run $mode the library: $(demo_explain "$name.$mode")"; return 1; }
    done
    without=$(demo_peak_mib "$name.without")
    with=$(demo_peak_mib "$name.with")
    echo "== $title =="
    awk -v left_title="without: peak $without MiB" -v right_title="libgcalloc: peak $with MiB" \
        -f "$demo_here/plot.awk" "$demo_work/$name.without.samples" "$demo_work/$name.with.samples"
    echo "    printed, both times: $(cat "$demo_work/$name.without.out")"
    show_gctrace "$name.with"
    conclude
}

conclude() {
    reasons=$(check "$name")
    figures=$(awk -v a="$without" -v b="$with" 'BEGIN { printf "%.1f", a / (b > 0 ? b : 1) }')
    echo "-> peak $without MiB without, $with MiB with: $figures times less;" \
        "$(demo_wall_s "$name.without") s without, $(demo_wall_s "$name.with") s with;" \
        "$(demo_cycles "$name.with") cycles"
    echo
    [ -z "$reasons" ] || { echo "FAIL: $title: $reasons"; return 1; }
}

demo_start
demo_build leaky
mib=$(demo_budget_mib "${DEMO_MIB:-768}")
failed=0
echo "Each program leaks about $mib MiB. Same program, same input; on the right with"
echo "LD_PRELOAD=${demo_library#"$demo_root"/} GCALLOC_DEBUG=gctrace=1"
echo
show leaky "a request server in C that forgets memory (tests/demo/leaky.c)" \
    "$demo_work/leaky" "$mib" || failed=1
python=$(demo_python)
if [ -n "$python" ]; then
    show python "python3 calling malloc through ctypes (tests/demo/leaky.py)" \
        "$python" "$demo_here/leaky.py" "$mib" || failed=1
else
    echo "SKIP: python3 leaking through ctypes: no python3 with ctypes on this machine"
fi
exit $failed
