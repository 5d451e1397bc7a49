# PURPOSE: Berkeley DB keeps the blocks of its cache by their distance from another block: with a
#   database in memory, that is where everything stands.
NEEDS="perl"

prepare() { perl -MDB_File -e 1 || skip "this perl has no DB_File"; }

run() { perl "$SRC/database.pl"; }
