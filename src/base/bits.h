/* bits.h -- alignment and bit arithmetic on words */
#ifndef GCALLOC_BASE_BITS_H
#define GCALLOC_BASE_BITS_H

#include "base/compiler.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

INLINE size_t align_up(size_t n, size_t alignment)
{
    return (n + alignment - 1) & ~(alignment - 1);
}

INLINE size_t align_down(size_t n, size_t alignment)
{
    return n & ~(alignment - 1);
}

INLINE bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* floor(log2(n)); n must not be 0. */
INLINE unsigned log2_floor(size_t n)
{
    return 63u - (unsigned)__builtin_clzl(n);
}

/* Index of the lowest set bit; word must not be 0. */
INLINE unsigned lowest_bit(uint64_t word)
{
    return (unsigned)__builtin_ctzll(word);
}

/* Without -mpopcnt the builtin is a library call. */
INLINE unsigned count_bits(uint64_t word)
{
    word -= word >> 1 & 0x5555555555555555ull;
    word = (word & 0x3333333333333333ull) + (word >> 2 & 0x3333333333333333ull);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (unsigned)(word * 0x0101010101010101ull >> 56);
}

/* Are the set bits neighbours?  word must not be 0. */
INLINE bool is_one_run(uint64_t word)
{
    uint64_t run = word >> lowest_bit(word);

    return (run & (run + 1)) == 0;
}

INLINE size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* See FIRST_ABOVE.  end: where `high` is in a row. */
INLINE size_t first_above(const void *rows, size_t count, size_t row_bytes, size_t end, uintptr_t address)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (*(const uintptr_t *)((const char *)rows + middle * row_bytes + end) > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* In rows of address ranges, sorted and disjoint: the index of the first whose `high` lies above the
 * address; count, if none does. */
#define FIRST_ABOVE(rows, count, address)                                                       \
    first_above((rows), (count), sizeof *(rows), __builtin_offsetof(__typeof__(*(rows)), high), (address))

#endif
