# PURPOSE: python3: threads, locks, queues, thread pools, thread-local data, asyncio.
NEEDS="python3"
MODES="preload stress manual"
STRESS=1024 # asyncio takes a buffer of 256 KiB for every read
WEIGHT=3

run() {
    python3 "$SRC/threads.py"
    PYTHONMALLOC=malloc python3 "$SRC/threads.py"
}
