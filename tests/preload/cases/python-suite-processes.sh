# PURPOSE: modules of python's own test suite about processes, files, mappings, ctypes, sqlite.
NEEDS="python3"
LIMIT=150
STDERR=ignore # see python-suite-objects
WEIGHT=10

prepare() { python3 -c 'import test.test_json' || skip "libpython3-testsuite is not installed"; }

run() {
    untraced python3 "$SRC/suite.py" test_fork1 test_mmap test_os test_posix test_pty \
        test_resource test_tempfile test_ctypes \
        'test_subprocess=*.POSIXProcessTestCase.*,*.ContextManagerTests.*' \
        'test_multiprocessing_fork=*.WithProcessesTestPool.test_[a-i]*,*.WithProcessesTestQueue.*'
    python3 "$SRC/suite.py" test_mmap test_resource test_ctypes.test_strings \
        test_ctypes.test_callbacks
}
