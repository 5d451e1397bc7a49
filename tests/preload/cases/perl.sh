# PURPOSE: perl: hashes, regular expressions, closures, sort, pack, fork and wait, eval and die.
NEEDS="perl"
MODES="preload stress manual"
WEIGHT=3

run() { PERL_HASH_SEED=0 perl "$SRC/mix.pl"; }
