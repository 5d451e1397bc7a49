# PURPOSE: modules of python's own test suite about threads, signals, queues and polling.
NEEDS="python3"
LIMIT=150
STDERR=ignore # see python-suite-objects
WEIGHT=10

prepare() { python3 -c 'import test.test_json' || skip "libpython3-testsuite is not installed"; }

run() {
    untraced python3 "$SRC/suite.py" test_thread test_select test_epoll \
        'test_threading=*.ThreadTests.*,*.ThreadJoinOnShutdown.*,*.BarrierTests.*' \
        'test_threading=*.ConditionTests.*' \
        'test_signal=*.PosixTests.*,*.WakeupFDTests.*,*.RaiseSignalTest.*' \
        'test_queue=*.CQueueTest.*,*.CSimpleQueueTest.*'
    python3 "$SRC/suite.py" test_thread
}
