"""leaky.py: leaks C memory from Python: libc's malloc through ctypes, and never a free.

PURPOSE: the second program of the demo. It keeps the last KEPT blocks in a list and checks each
before it lets go of it, so that a block reclaimed too early would be noticed. Usage: leaky.py MIB
(to leak in all).
"""
import ctypes
import sys

KEPT = 4096

libc = ctypes.CDLL(None)
# A ctypes pointer, not c_void_p: the address must lie in memory as an address. A Python int would
# hold it in 30-bit digits, where no collector can see it.
libc.malloc.restype = ctypes.POINTER(ctypes.c_ubyte)
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.restype = None
libc.memset.argtypes = [ctypes.POINTER(ctypes.c_ubyte), ctypes.c_int, ctypes.c_size_t]


def check(number, block, size):
    """The block still holds what was written into it, at both ends."""
    want = number % 251
    if block[0] != want or block[size - 1] != want:
        sys.exit("leaky.py: block %d is damaged" % number)


def main():
    budget = int(sys.argv[1]) << 20
    kept = [None] * KEPT
    number = leaked = 0
    while leaked < budget:
        size = 128 + number * 7919 % 2048
        block = libc.malloc(size)
        libc.memset(block, number % 251, size)
        old = kept[number % KEPT]
        kept[number % KEPT] = (number, block, size)
        if old is not None:
            check(*old)
            leaked += old[2]  # leak: Python frees the pointer object, nobody frees the block
        number += 1
    for entry in kept:
        if entry is not None:
            check(*entry)
    print("%d blocks, %d MiB leaked" % (number, leaked >> 20))


main()
