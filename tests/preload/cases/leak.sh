# PURPOSE: the opposite check: a program that leaks 600 MiB must stay small with the library, so
#   that the other cases are known to run with a collector that reclaims.
NEEDS="gcc"

prepare() { compile "$IN/leak" leak.c -pthread; }

run() { stays_below 300 "$IN/leak" 600; }
