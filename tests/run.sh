#!/usr/bin/env bash
# Everything CI runs: `make test`.  tests/run.sh [part ...] runs some of the parts only:
#     build lint unit sanitizers api death stress preload
# MODE=asan or MODE=tsan makes `unit` run the floors that can run under a sanitizer (`make check`).
# Installs what only the tests need.  The last line counts: N passed, N failed, N skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export CC=${CC:-gcc} CXX=${CXX:-g++}
parts=${*:-build lint unit sanitizers api death stress preload}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
passed=0 failed=0 skipped=0

# check NAME SECONDS COMMAND... -- its output is shown only when it fails
check() {
    local name=$1 limit=$2 status=0
    shift 2
    timeout "$limit" "$@" > "$log/out" 2>&1 || status=$?
    grep '^SKIP' "$log/out" || true
    if [ "$status" -eq 0 ]; then
        printf 'ok   %s\n' "$name"
        passed=$((passed + 1))
    else
        printf 'FAIL %s (status %d)\n' "$name" "$status"
        tail -n 40 "$log/out" | sed 's/^/     /'
        failed=$((failed + 1))
    fi
}

# suite NAME SECONDS COMMAND... -- a script with checks of its own, whose lines begin ok, FAIL or SKIP
# (PASS for ok), or that ends with a counting line
suite() {
    local name=$1 limit=$2 status=0
    shift 2
    printf -- '-- %s\n' "$name"
    timeout "$limit" "$@" 2>&1 | tee "$log/suite" || status=$?
    local p f s
    p=$(grep -cE '^(ok|PASS) ' "$log/suite" || true)
    f=$(grep -cE '^FAIL ' "$log/suite" || true)
    s=$(grep -cE '^SKIP ' "$log/suite" || true)
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
        printf 'FAIL %s (status %d)\n' "$name" "$status"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# What a unit test is linked with: its own floor and those below, less what it pretends.
unit_sources() {
    local base="src/base/*.c" os="src/os/*.c" gc="src/gc/*.c" world="src/world/*.c" heap untracked
    heap=$(ls src/heap/*.c | grep -v mksizeclasses)
    untracked=$(ls src/gc/*.c | grep -v dirty)
    case $1 in
    test_proc | test_options | test_host | test_lock) echo $base $os ;;
    test_roots*) echo $base $os src/heap/arena.c src/heap/ceded.c src/world/roots*.c ;;
    test_heap | test_huge | test_pages | test_ready_release) echo $base $os $heap ;;
    test_stop_handlers) echo $base $os $heap $world src/api/wrap_signal.c ;;
    test_thread | test_stop*) echo $base $os $heap $world ;;
    test_worklist) echo $base $os $heap src/gc/worklist.c ;;
    test_mark* | test_sweep* | test_checkmark | *_userfault) echo $base $os $heap $gc ;;
    test_beside*) echo $base $os $heap $untracked ;;
    model_*) echo src/gc/pacer.c src/gc/limiter.c ;;
    *) echo "unknown unit test $1" >&2; return 1 ;;
    esac
}

# unit_tests MODE TEST... -- compiles and runs tests in one variety
unit_tests() {
    local mode=$1 flags test name
    shift
    flags="-std=gnu17 -O1 -g -fno-stack-protector -ftls-model=initial-exec -fno-builtin-malloc
        -DGCALLOC_DEBUG_CHECKS -Wall -Wextra -Isrc -Iinclude -Itests/unit"
    case $mode in
    asan) flags="$flags -fsanitize=address,undefined -fno-sanitize-recover=undefined" ;;
    tsan) flags="$flags -fsanitize=thread" ;;
    esac
    mkdir -p "build/tests/$mode"
    for test; do
        name=$(basename "$test" .c)
        # shellcheck disable=SC2046,SC2086
        check "compile $name ($mode)" 120 "$CC" $flags -o "build/tests/$mode/$name" "$test" \
            $(unit_sources "$name") -lcmocka -lpthread
        check "$name ($mode)" 180 "build/tests/$mode/$name"
    done
}

# The floors up to gc, with the world pretended: the stop itself (signals, raw clones, scanning
# other threads' stacks) is what sanitizers cannot run.  Nor do the programs that fork (test_checkmark)
# under tsan: the child of a process with threads may do nothing there; nor the models, which have one thread.
sanitized() {
    unit_tests "$1" tests/unit/test_worklist.c tests/unit/test_mark.c tests/unit/test_sweep.c \
        tests/unit/test_heap.c tests/unit/test_pages.c tests/unit/test_beside.c tests/unit/test_beside_threads.c \
        tests/unit/test_beside_distances.c
    [ "$1" = tsan ] || unit_tests "$1" tests/unit/test_checkmark.c tests/model/model_*.c
}

unit() {
    case ${MODE:-release} in
    asan | tsan) sanitized "$MODE" ;;
    *) unit_tests debug tests/unit/test_*.c tests/model/model_*.c ;;
    esac
}

# What a program of tests/stress is linked with: the archive, or, to look inside, what it was made of.
stress_library() {
    case $1 in
    deaf | no_memory | singlestep | vforks) find build/obj -name '*.o' ;;
    *) echo build/libgcalloc.a ;;
    esac
}

# stress NAME SECONDS [ENVIRONMENT...] -- a program of tests/stress
stress_one() {
    local name=$1 limit=$2
    shift 2
    check "stress $name ${*:-}" "$limit" env "$@" "build/tests/$name"
}

# stress_hostile NAME THREADS SECONDS -- with buffers that hold next to nothing (MODE=hostile)
stress_hostile() {
    check "make MODE=hostile" 300 make -j2 MODE=hostile all
    check "compile $1 (hostile)" 60 "$CC" -std=gnu17 -O1 -g -fno-builtin -DGCALLOC_HOSTILE -Wall -Wextra \
        -Iinclude -Isrc -o "build/tests/$1_hostile" "tests/stress/$1.c" build/hostile/libgcalloc.a \
        -lpthread -ldl -lrt
    check "stress $1 (hostile)" 120 env GCALLOC_DEBUG=gcstress=256,gccheckmark=1,verify=1,workers=4 \
        "build/tests/$1_hostile" --threads "$2" --seconds "$3"
}

stress() {
    local test name
    mkdir -p build/tests
    for test in tests/stress/*.c; do
        name=$(basename "$test" .c)
        # shellcheck disable=SC2046
        check "compile $name" 60 "$CC" -std=gnu17 -O1 -g -fno-builtin -Wall -Wextra -Iinclude -Isrc \
            -o "build/tests/$name" "$test" $(stress_library "$name") -lpthread -ldl -lrt
    done
    stress_one singlestep 120
    stress_one singlestep 120 GCALLOC_DEBUG=verify=1
    stress_one threads 120
    stress_one threads 120 GCALLOC_DEBUG=gcstress=64
    stress_one threads 120 GCALLOC_DEBUG=gcstress=64,noworkers=1
    stress_one threads 120 GCALLOC_DEBUG=gcstress=64,nopagemapscan=1
    stress_one threads 120 GCALLOC_DEBUG=hardened=1,gcstress=256
    stress_one threads 120 GCALLOC_DEBUG=failvm=5,gcstress=256
    stress_one signals_api 120
    stress_one signals_api 120 GCALLOC_DEBUG=gcstress=64
    stress_one forks 120
    stress_one forks 120 GCALLOC_DEBUG=gcstress=64
    stress_one forks 120 GCALLOC_DEBUG=gcstress=64,noworkers=1
    stress_one hidden 120
    stress_one hidden 120 GCALLOC_DEBUG=nopagemapscan=2
    stress_one rings 60
    stress_one rings 60 GCALLOC_DEBUG=mark=2
    stress_one rings 60 GCALLOC_DEBUG=mark=3,verify=1
    stress_one sandbox 120
    stress_one bare_kernel 60
    stress_one threads_api 120
    stress_one threads_api 120 GCALLOC_DEBUG=gcstress=1024
    stress_one eintr 120
    stress_one realloc_large 60
    stress_one realloc_large 60 GCALLOC_DEBUG=failvm=7
    stress_one realloc_large 60 GCALLOC_DEBUG=mark=3,gcstress=16384,hugepages=2
    stress_one wrappers 200
    stress_one snapshot 120
    stress_one memory 120
    stress_one memory 120 GCALLOC_DEBUG=gccheckmark=1,verify=1
    stress_one no_memory 120
    stress_one vforks 120
    stress_one deaf 120
    stress_one full_stderr 120
    stress_one full_stderr 120 GCALLOC_DEBUG=noworkers=1
    stress_one threads 120 GCALLOC_DEBUG=mark=2,gcstress=64,gccheckmark=1,verify=1
    stress_one hidden 120 GCALLOC_DEBUG=mark=2,gcstress=64,gccheckmark=1,verify=1
    stress_one threads 120 GCALLOC_DEBUG=gcstress=64,gccheckmark=1,verify=1
    stress_one hidden 120 GCALLOC_DEBUG=gcstress=64,gccheckmark=1,verify=1
    stress_one forks 120 GCALLOC_DEBUG=mark=2,gcstress=4096
    stress_hostile torture 4 8
    suite torture 400 tests/stress/torture.sh
    suite mutations 300 tests/stress/mutations.sh
}

for part in $parts; do
    case $part in
    build)
        tests/install.sh
        check "make" 300 make -j2 all
        check "make MODE=debug" 300 make -j2 MODE=debug all
        if command -v clang > /dev/null; then
            check "make with clang" 300 make -j2 CC=clang MODE=clang all
        else
            printf 'SKIP make with clang: clang is not installed\n'
            skipped=$((skipped + 1))
        fi
        ;;
    lint) check lint 120 tests/tools/lint.sh ;;
    unit) unit ;;
    sanitizers) sanitized asan; sanitized tsan ;;
    api) suite api 300 tests/api/run.sh ;;
    death) suite death 120 tests/death/run.sh ;;
    stress) stress ;;
    preload) suite preload 900 tests/preload/run.sh ;;
    *) printf 'unknown part %s\n' "$part"; exit 2 ;;
    esac
done
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
