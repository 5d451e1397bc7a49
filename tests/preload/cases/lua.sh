# PURPOSE: lua, an interpreter with a collector of its own: tables, strings, closures, coroutines,
#   weak tables and finalisers.
NEEDS="lua5.4"
STRESS=64
MODES="preload stress manual"

run() { lua5.4 "$SRC/mix.lua"; }
