# PURPOSE: modules of python's own test suite that are about objects, with every object from malloc.
NEEDS="python3"
LIMIT=240
STRESS=1024
STDERR=ignore # tracebacks of tests that fail on this machine anyway; the outcomes are in stdout
WEIGHT=10

prepare() { python3 -c 'import test.test_json' || skip "libpython3-testsuite is not installed"; }

run() {
    export PYTHONMALLOC=malloc
    # Tests that run python again compare its stderr, so only the short second part is traced.
    untraced python3 "$SRC/suite.py" test_json test_dict test_list test_set test_tuple test_re \
        test_struct test_array test_bytes test_deque test_heapq test_memoryview test_unicode \
        test_gc test_itertools test_generators test_coroutines test_zlib test_hashlib \
        'test_pickle=*CPickler*'
    python3 "$SRC/suite.py" test_list test_heapq
}
