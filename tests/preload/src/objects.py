"""PURPOSE: builds, serialises and drops many python objects; the output is fixed."""
import collections, copy, decimal, gc, hashlib, heapq, itertools, json, pickle, random, re, string
import weakref, zlib

rng = random.Random(5)


def record(i):
    return {"id": i, "name": "n%d" % (i * 7919 % 10007),
            "tags": [rng.randint(0, 9) for _ in range(i % 8)],
            "sub": {"x": i / 7, "y": None, "z": "ü" * (i % 5)}}


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


rows = [record(i) for i in range(3000)]
text = json.dumps(rows, sort_keys=True)
assert json.loads(text) == rows
blob = pickle.dumps(rows, 4)
assert pickle.loads(blob) == rows
assert pickle.loads(pickle._dumps(rows[:100], 2)) == rows[:100]
packed = zlib.compress(text.encode(), 6)
assert zlib.decompress(packed).decode() == text
print(len(text), digest(text.encode()), digest(blob), digest(packed))

words = collections.Counter(re.findall(r'"(n\d+)"', text))
groups = collections.defaultdict(list)
for w in words:
    groups[len(w)].append(w)
print(len(words), {k: len(v) for k, v in sorted(groups.items())})

heap = []
for i in range(10000):
    heapq.heappush(heap, (i * 7919 % 9973, "p%d" % i))
print(sum(heapq.heappop(heap)[0] for _ in range(5000)), heap[0])

decimal.getcontext().prec = 60
print(sum(decimal.Decimal(i).sqrt() for i in range(1, 500)))
print(digest(hex(3 ** 20000).encode()), len(str(7 ** 4000)))


class Node:
    __slots__ = ("left", "right", "up", "__weakref__")


def tree(depth, up=None):
    n = Node()
    n.up = up
    n.left, n.right = (tree(depth - 1, n), tree(depth - 1, n)) if depth else (None, None)
    return n


refs = [weakref.ref(tree(8)) for _ in range(10)]
gc.collect()
print(sum(r() is None for r in refs), "trees gone")
kept = copy.deepcopy([tree(6) for _ in range(4)])
print(sum(1 for t in kept if t.left.up is t))


def walk(n):
    while n:
        got = yield n * n
        n = n - 1 if got is None else got


gens = [walk(i) for i in range(1, 400)]
print(sum(next(g) for g in gens), sum(g.send(3) for g in gens), sum(map(sum, gens)))
print(digest("".join(sorted("".join(p) for p in itertools.permutations("abcdefg"))).encode()))
table = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
big = "".join(chr(97 + i % 26) for i in range(300000)).translate(table)
print(len(big), digest(big.encode()), digest(bytearray(big, "ascii").replace(b"A", b"--")))
