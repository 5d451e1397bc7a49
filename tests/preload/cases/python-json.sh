# PURPOSE: python3: json, pickle, zlib, re, decimal, big dicts; once with python's own small-object
#   allocator and once with every object from malloc.
NEEDS="python3"
MODES="preload stress manual"
WEIGHT=5

run() {
    python3 "$SRC/objects.py"
    PYTHONMALLOC=malloc python3 "$SRC/objects.py"
}
