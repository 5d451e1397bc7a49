"""PURPOSE: blocks of the C heap that python knows by integers only."""
import ctypes as c

libc = c.CDLL(None)
libc.malloc.restype = c.c_void_p
libc.malloc.argtypes = [c.c_size_t]


def text_of(i):
    return b"handle number %d" % i


def make(i):
    handle = libc.malloc(200)
    c.memmove(handle, text_of(i) + b"\0", len(text_of(i)) + 1)
    return handle


handles = [make(i) for i in range(1000)]
for i in range(50000):
    c.memset(libc.malloc(200), 0, 200)      # garbage, in the place of what was reclaimed
print(sum(c.string_at(handle) == text_of(i) for i, handle in enumerate(handles)), "handles")
