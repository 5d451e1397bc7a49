# PURPOSE: python3 ctypes: malloc, realloc and free called directly, callbacks from qsort,
#   structures that point to each other, pointers held only in memory of the C heap.
NEEDS="python3"
STRESS=32
MODES="preload stress manual"

run() { python3 "$SRC/foreign.py"; }
