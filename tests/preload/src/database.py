"""PURPOSE: sqlite3 through python, with callbacks into python from inside the library."""
import hashlib, json, sqlite3, threading

db = sqlite3.connect("t.db", check_same_thread=False)
db.create_function("digest", 1, lambda s: hashlib.md5(s.encode()).hexdigest()[:8])
db.create_collation("backwards", lambda a, b: (a[::-1] > b[::-1]) - (a[::-1] < b[::-1]))


class Median:
    def __init__(self):
        self.values = []

    def step(self, v):
        self.values.append(v)

    def finalize(self):
        return sorted(self.values)[len(self.values) // 2]


db.create_aggregate("median", 1, Median)
db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, k INTEGER, s TEXT, b BLOB)")
with db:
    db.executemany("INSERT INTO t VALUES (?, ?, ?, ?)",
                   ((i, i * 7919 % 10007, "s%d" % (i % 999), bytes(i % 300)) for i in range(20000)))
db.execute("CREATE INDEX tk ON t (k)")
print(db.execute("SELECT count(*), sum(length(b)), median(k) FROM t").fetchone())
print(db.execute("SELECT digest(s), count(*) FROM t GROUP BY 1 ORDER BY 2 DESC, 1"
                 " LIMIT 3").fetchall())
print(db.execute("SELECT DISTINCT s FROM t ORDER BY s COLLATE backwards LIMIT 4").fetchall())
cursors = [db.execute("SELECT k, s FROM t WHERE k > ? ORDER BY k", (n * 100,)) for n in range(60)]
print(sum(len(row[1]) for _ in range(50) for c in cursors if (row := c.fetchone())))
try:
    with db:
        db.execute("UPDATE t SET s = 'gone'")
        raise RuntimeError
except RuntimeError:
    print(db.execute("SELECT count(*) FROM t WHERE s = 'gone'").fetchone())
try:
    db.execute("INSERT INTO t VALUES (1, 1, 1, 1)")
except sqlite3.IntegrityError as e:
    print(e)


def reader(n, out):
    own = sqlite3.connect("t.db")
    own.row_factory = sqlite3.Row
    out[n] = sum(len(json.dumps(dict(zip(r.keys(), (r["id"], r["k"])))))
                 for r in own.execute("SELECT id, k FROM t WHERE id % 4 = ?", (n,)))
    own.close()


out = {}
threads = [threading.Thread(target=reader, args=(n, out)) for n in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(sorted(out.items()))
print(hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest())
db.rollback()
memory = sqlite3.connect(":memory:")
db.backup(memory)
db.close()
print(memory.execute("PRAGMA integrity_check").fetchone())
