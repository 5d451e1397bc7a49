# PURPOSE: python3's sqlite3 module: many rows, python functions called from SQL, blobs, threads.
NEEDS="python3"
MODES="preload stress manual"

run() { python3 "$SRC/database.py"; }
