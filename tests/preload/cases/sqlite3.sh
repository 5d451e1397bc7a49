# PURPOSE: the sqlite3 shell: 100,000 rows, indexes, joins, windows, json, rollback, vacuum.
NEEDS="sqlite3"
STRESS=128
MODES="preload stress manual"
LIMIT=90
WEIGHT=4

run() {
    sqlite3 test.db <"$SRC/rows.sql"
    echo "status $?"
    sqlite3 test.db .dump | sha256sum
    sqlite3 test.db .dump | sqlite3 copy.db && sqlite3 copy.db 'PRAGMA integrity_check'
    sqlite3 :memory: 'SELECT no_such_column'
    echo "an error: status $?"
}
