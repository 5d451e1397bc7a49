# PURPOSE: blocking calls of threads neither return early nor fail with EINTR because others
#   collect.
NEEDS="gcc"

prepare() { compile "$IN/blocking" blocking.c -pthread; }

run() { "$IN/blocking"; }
