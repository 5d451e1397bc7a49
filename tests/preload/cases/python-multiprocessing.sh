# PURPOSE: python3: forked pools, forks from a process with running threads, spawned children,
#   shared memory, managers; children collect too.
NEEDS="python3"
MODES="preload stress manual"
LIMIT=90
WEIGHT=3

run() { python3 "$SRC/processes.py"; }
