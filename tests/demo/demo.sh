# demo.sh: what the demo and the leak table share. Sourced by POSIX sh scripts, never run.
#
# PURPOSE: build the programs in a scratch directory, decide how much they may leak on this
# machine, run them under `watch` without and with the library, and read figures out of what the
# runs left behind. The caller has set demo_root (top of the tree). Library: $GCALLOC_LIB, default
# build/libgcalloc.so.

demo_here=$demo_root/tests/demo
demo_library=${GCALLOC_LIB:-$demo_root/build/libgcalloc.so}
# No run may last longer than this, whatever goes wrong.
demo_limit_seconds=${DEMO_LIMIT_SECONDS:-120}

demo_die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# demo_start -- scratch directory (removed at exit), compiler, library
demo_start() {
    case $demo_library in
    /*) ;;
    *) demo_library=$(pwd)/$demo_library ;;
    esac
    [ -f "$demo_library" ] || demo_die "no $demo_library: run make first"
    demo_cc=${CC:-cc}
    command -v "${demo_cc%% *}" >/dev/null 2>&1 || demo_cc=gcc
    demo_work=$(mktemp -d "${TMPDIR:-/tmp}/gcalloc-demo.XXXXXX")
    trap 'rm -rf "$demo_work"' EXIT
    trap 'exit 130' INT
    trap 'exit 141' PIPE
    trap 'exit 143' TERM
    demo_build watch
}

# demo_build NAME [FLAG...] -- compiles tests/demo/NAME.c into the scratch directory
demo_build() {
    demo_name=$1
    shift
    $demo_cc -O2 -o "$demo_work/$demo_name" "$demo_here/$demo_name.c" "$@" ||
        demo_die "cannot compile $demo_name.c"
}

# demo_python -- path of a python3 with ctypes, or nothing; asks for the real program behind a
# wrapper
demo_python() {
    for demo_candidate in /usr/bin/python3 python3; do
        command -v "$demo_candidate" >/dev/null 2>&1 || continue
        "$demo_candidate" -c 'import ctypes, sys; print(sys.executable)' 2>/dev/null && return 0
    done
    return 0
}

# demo_budget_mib WANTED -- WANTED, but never more than a quarter of the memory available here,
# in the machine or in our cgroup: a demonstration must not push anybody out of memory
demo_budget_mib() {
    {
        awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo
        demo_cgroup_mib
    } | awk -v wanted="$1" '
        { if (NR == 1 || $1 < least) least = $1 }
        END { allowed = int(least / 4); print (wanted < allowed ? wanted : allowed) }'
}

demo_cgroup_mib() {
    demo_group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
    [ -r "$demo_group/memory.max" ] || demo_group=/sys/fs/cgroup
    [ -r "$demo_group/memory.max" ] && [ -r "$demo_group/memory.current" ] || return 0
    cat "$demo_group/memory.max" "$demo_group/memory.current" | awk '
        NR == 1 { max = $1 }
        NR == 2 && max != "max" { print int((max - $1) / 1048576) }'
}

# demo_run RUN without|with COMMAND... -- one run; leaves RUN.{samples,out,err} in the scratch
# directory. env is replaced by the command, so that what is watched is the command itself.
demo_run() {
    demo_files=$demo_work/$1
    demo_mode=$2
    shift 2
    if [ "$demo_mode" = with ]; then
        set -- env LD_PRELOAD="$demo_library" GCALLOC_DEBUG=gctrace=1 "$@"
    else
        set -- env -u LD_PRELOAD "$@"
    fi
    "$demo_work/watch" "$demo_files.samples" "$demo_limit_seconds" "$@" \
        >"$demo_files.out" 2>"$demo_files.err" || return 1
}

# What went wrong in a run, for the reader: its status and the end of its stderr.
demo_explain() {
    echo "status $(awk '$1 == "end" { print $4 }' "$demo_work/$1.samples"); stderr ends:"
    tail -n 5 "$demo_work/$1.err" | sed 's/^/    /'
}

demo_peak_mib() { awk '$1 == "end" { printf "%.0f\n", $3 / 1024 }' "$demo_work/$1.samples"; }
demo_wall_s() { awk '$1 == "end" { printf "%.2f\n", $2 / 1000 }' "$demo_work/$1.samples"; }
demo_gctrace() { grep '^gc [0-9][0-9]* @' "$demo_work/$1.err" || true; }
demo_cycles() { demo_gctrace "$1" | awk 'END { print NR }'; }
demo_median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# demo_longest_stop_ms -- gctrace lines on stdin; the longest time that the world stood still.
# The one place with the formula. Field 5 is A+B+C: stop 1, marking beside the program, stop 2; of
# a cycle that marked with the world stopped it is one stop.
demo_longest_stop_ms() {
    awk '{ split($5, part, "+"); stop = part[1] > part[3] ? part[1] : part[3]
           if (/\[stopped\]/) stop = part[1] + part[2] + part[3] }
         stop > longest { longest = stop }
         END { printf "%.1f\n", longest }'
}
