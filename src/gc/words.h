/* words.h -- which words of a stretch of memory may name an object
 *
 * PURPOSE  The innermost loops of the marker: from words in memory to addresses in a ring, without a look
 *          at the page map.  What a word is, and where it may stand, is said in object.h.
 * LOCKING  None.  What is written at the same time may be missed: it will be looked at again.
 */
#ifndef GCALLOC_GC_WORDS_H
#define GCALLOC_GC_WORDS_H

#include "gc/object.h"

/* Four halves of words, and eight quarters. */
enum { HALVES_BYTES = 16 };

/* Appends to `queue`, a ring of `size` entries, what of the words of [at, end) may name an object in
 * [base, base + heap).  No branch depends on a word: half of them name something, and nobody could
 * foresee which. */
INLINE uint32_t queue_words(uintptr_t *queue, uint32_t size, uint32_t tail, uintptr_t at,
                            uintptr_t end, uintptr_t base, size_t heap)
{
    UNROLL_TWICE
    for (; at < end; at += sizeof(uintptr_t)) {
        uintptr_t address = word_address(load_relaxed((const uintptr_t *)at));
        queue[tail % size] = address;
        tail += address - base < heap;
    }
    return tail;
}

/* The same of one word, at a multiple of 4. */
INLINE uint32_t queue_word(uintptr_t *queue, uint32_t size, uint32_t tail, uintptr_t at,
                           uintptr_t base, size_t heap)
{
    uintptr_t address = word_address(load_word((const void *)at));

    queue[tail % size] = address;
    return tail + (address - base < heap);
}

/* The same of words that may be two digits of a number.  One that is an address as well counts as such,
 * so that no half of a word is the upper one of two entries. */
static COLD uint32_t queue_digits(uintptr_t *queue, uint32_t size, uint32_t tail, uintptr_t at,
                                  uintptr_t end, uintptr_t base, size_t heap)
{
    for (; at < end; at += sizeof(uintptr_t)) {
        uintptr_t word = load_relaxed((const uintptr_t *)at), address = digits_address(word);

        queue[tail % size] = address;
        tail += address - base < heap && word_address(word) - base >= heap;
    }
    return tail;
}

typedef uint16_t quarters VECTOR(HALVES_BYTES, 4);
typedef char octets VECTOR(HALVES_BYTES, HALVES_BYTES);

/* Where halves_of has a bit for the halves at multiples of 8, and for the others. */
enum { HALVES_EVEN = 0x0101, HALVES_ODD = 0x1010 };

/* Which of the four halves at `at` may be the upper ones of words that name something: the 16 bits from
 * `shift` on of all addresses in the heap are one of a few values. */
INLINE octets upper_halves(uintptr_t at, uintptr_t base, size_t heap, unsigned shift)
{
    const quarters zero = { 0 };
#if defined(__SANITIZE_THREAD__)        /* it would see no atomic loads */
    (void)at, (void)base, (void)heap, (void)shift;
    return (octets)~zero;
#else
    quarters first = zero + (uint16_t)(base >> shift);
    quarters more = zero + (uint16_t)min_size(((base + heap - 1) >> shift) - (base >> shift), UINT16_MAX);

    return (octets)(*(const quarters *)at - first <= more);
#endif
}

INLINE unsigned halves_of(octets halves)
{
    return (unsigned)__builtin_ia32_pmovmskb128(halves) & (HALVES_EVEN | HALVES_ODD);
}

/* The same with words at multiples of 4, which do not begin before `low`.  Most of what malloc memory
 * holds is no address, and hardly any address stands at an odd multiple of 4.  What is written at the
 * same time may be missed: it will be looked at again. */
INLINE uint32_t queue_packed(uintptr_t *queue, uint32_t size, uint32_t tail, uintptr_t low,
                             uintptr_t at, uintptr_t end, uintptr_t base, size_t heap)
{
    for (; at + HALVES_BYTES <= end; at += HALVES_BYTES) {
        octets addresses = upper_halves(at, base, heap, 32);
        octets digits = upper_halves(at, base, heap, DIGIT_BITS);
        if (halves_of(addresses | digits) == 0)
            continue;
        if (UNLIKELY((halves_of(digits) & HALVES_ODD) != 0))
            tail = queue_digits(queue, size, tail, at, at + HALVES_BYTES, base, heap);
        tail = queue_words(queue, size, tail, at, at + HALVES_BYTES, base, heap);
        if (LIKELY((halves_of(addresses) & HALVES_EVEN) == 0))
            continue;
        if (at != low)
            tail = queue_word(queue, size, tail, at - PACKED_STEP, base, heap);
        tail = queue_word(queue, size, tail, at + PACKED_STEP, base, heap);
    }
    if (UNLIKELY(at < end)) {
        tail = queue_digits(queue, size, tail, at, end, base, heap);
        tail = queue_words(queue, size, tail, at, end, base, heap);
        if (at != low)
            tail = queue_word(queue, size, tail, at - PACKED_STEP, base, heap);
    }
    return tail;
}

#endif
