/* object.h -- a word, and the object it names
 *
 * PURPOSE    The conservative test: a word names an object when its low 48 bits
 *            fall anywhere inside one.  The top 16 bits may hold tags or the
 *            exponent of a boxed double; low tags are interior pointers.  Free
 *            slots, slots freed elsewhere and the tail of a span name nothing.
 *            Words stand at multiples of 4, in packed structures (Ruby's files are such);
 *            in what gc_alloc returned at multiples of 8.
 *            An integer of Python's names what it is the address of: ctypes gives no other
 *            copy of a handle.  Its digits have 30 bits, a word holds two of them.
 *            Where fontconfig is loaded words may be distances, too: distance.h.
 * LOCKING    None.  Spans are type-stable, so a stale span can be looked at; the
 *            answer is exact with the world stopped, or for a live object.
 */
#ifndef GCALLOC_GC_OBJECT_H
#define GCALLOC_GC_OBJECT_H

#include "heap/span.h"

#define ADDRESS_BITS 48

struct object {
    struct span *span;          /* NULL: no object */
    uint32_t slot;
};

/* The address in a word that may carry tags. */
INLINE uintptr_t word_address(uintptr_t word)
{
    return word & (((uintptr_t)1 << ADDRESS_BITS) - 1);
}

enum { DIGIT_BITS = 30 };

/* The number whose two digits a word holds, the lower one first; 0: they are no digits. */
INLINE uintptr_t digits_address(uintptr_t word)
{
    uintptr_t low = (uint32_t)word, high = word >> 32;

    return low >> DIGIT_BITS == 0 ? high << DIGIT_BITS | low : 0;
}

/* Of the slots of one word those that hold objects: a cached slot is the allocator's. */
INLINE uint64_t slots_without_cached(const struct span *span, uint32_t word, uint64_t slots)
{
    uint64_t objects = 0;

    for (; slots != 0; slots &= slots - 1)
        if (load_relaxed(&span->slot_state[word * 64 + lowest_bit(slots)]) != SLOT_IN)
            objects |= slots & -slots;
    return objects;
}

/* The slot of the span that holds the address, if an object is in it. */
INLINE bool object_in_span(const struct span *span, uintptr_t address, uint32_t *slot)
{
    if (!span_in_use(span))
        return false;
    *slot = span_slot_of(span, address - span->base);
    return *slot < span->slots && span_objects(span, *slot >> 6) >> (*slot & 63) & 1;
}

/* The object that holds an address without tags. */
INLINE struct object object_at(uintptr_t address)
{
    struct object object = { NULL, 0 };

    if (!heap_contains(address))
        return object;
    struct span *span = span_of(address);
    if (span != NULL && object_in_span(span, address, &object.slot))
        object.span = span;
    return object;
}

/* The object that a word names. */
INLINE struct object object_of_word(uintptr_t word)
{
    return object_at(word_address(word));
}

enum { PACKED_STEP = 4 };

/* A word at a multiple of 4.  One that is not at a multiple of 8 may be torn, as its store may be: then
 * it was written since the cycle began, and is looked at again. */
INLINE uintptr_t load_word(const void *at)
{
    const uint32_t *half = at;

    if ((uintptr_t)at % sizeof(uintptr_t) == 0)
        return load_relaxed((const uintptr_t *)at);
    return load_relaxed(&half[0]) | (uintptr_t)load_relaxed(&half[1]) << 32;
}

/* The distance between two places of an object where a word may stand. */
INLINE size_t object_word_step(enum kind kind)
{
    return kind == KIND_MALLOC ? PACKED_STEP : sizeof(uintptr_t);
}

/* How many bytes of a slot may hold pointers: all of it, also beyond what was asked for, since
 * malloc_usable_size invites programs to use it. */
INLINE size_t object_scan_bytes(const struct span *span)
{
    return span->slot_bytes;
}

#endif
