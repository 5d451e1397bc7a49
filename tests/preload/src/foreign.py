"""PURPOSE: C memory driven from python; a list whose nodes only C memory points to."""
import ctypes as c

libc = c.CDLL(None, use_errno=True)
libc.malloc.restype = libc.realloc.restype = libc.calloc.restype = libc.strdup.restype = c.c_void_p
libc.malloc.argtypes = [c.c_size_t]
libc.calloc.argtypes = [c.c_size_t, c.c_size_t]
libc.realloc.argtypes = [c.c_void_p, c.c_size_t]
libc.free.argtypes = [c.c_void_p]
libc.malloc_usable_size.argtypes = [c.c_void_p]


class Node(c.Structure):
    pass


Node._fields_ = [("next", c.POINTER(Node)), ("text", c.c_void_p), ("n", c.c_long)]

head = c.cast(libc.calloc(1, c.sizeof(Node)), c.POINTER(Node))
tail = head
for i in range(20000):
    node = c.cast(libc.malloc(c.sizeof(Node)), c.POINTER(Node))
    node.contents.next = c.POINTER(Node)()
    node.contents.n = i
    node.contents.text = libc.strdup(b"node number %d" % i)
    tail.contents.next = node
    tail = node
    libc.free(libc.malloc(i % 5000))
del node, tail
total = count = 0
at = head.contents.next
while at:
    node = at.contents
    assert c.string_at(node.text) == b"node number %d" % node.n, node.n
    total += node.n
    count += 1
    at = node.next
print(count, total)

block = libc.malloc(10)
c.memset(block, 65, 10)
for size in list(range(100, 200000, 7777)) + [50, 3000000, 20]:
    block = libc.realloc(block, size)
    assert libc.malloc_usable_size(block) >= size and c.string_at(block, 10) == b"A" * 10
print(c.string_at(block, 10))
libc.free(block)
assert libc.malloc(2 ** 63) is None
print("errno", c.get_errno())

compare = c.CFUNCTYPE(c.c_int, c.POINTER(c.c_int), c.POINTER(c.c_int))
numbers = (c.c_int * 5000)(*[i * 7919 % 10007 for i in range(5000)])
libc.qsort(numbers, 5000, c.sizeof(c.c_int), compare(lambda a, b: len([a[0]] * 20) and a[0] - b[0]))
print(list(numbers) == sorted(numbers), numbers[0], numbers[4999])
buffers = [c.create_string_buffer(b"buffer %d" % i, 64 + i % 900) for i in range(5000)]
print(sum(b.value.endswith(b"7") for b in buffers))
