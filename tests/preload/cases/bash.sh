# PURPOSE: bash: arrays, associative arrays, substitutions, functions, traps, and many forks.
NEEDS="bash"
MODES="preload stress manual"
STRESS=64

run() { status bash "$SRC/forks.bash"; }
