/* distance.h -- words of malloc blocks that are distances to other malloc blocks
 *
 * PURPOSE    Fontconfig keeps a pointer as its distance from the structure or the array that holds
 *            it.  In a program that has loaded it a word of a malloc block may be, besides an
 *            address, the distance from the block's start to another one's start.  That is what
 *            FcPattern.elts_offset, FcCharSet.leaves_offset and numbers_offset are, and the entries
 *            of a charset's array of leaves.  Distances from elsewhere, or to elsewhere, end in the
 *            same block (caches, frozen charsets) or in one that a pointer names, too (frozen
 *            leaves).  So it is from 2.13 to 2.18.
 *
 *            The loops that scan words for addresses know nothing of it: a second look is taken.
 * LOCKING    distance_followed: atomic, relaxed; written in the stop in which marking begins, and
 *            the same until the sweep.
 *
 * A cycle follows distances from its beginning on, or not at all.  Where a library that keeps some was
 * loaded after its beginning, or first seen after it, blocks may have been scanned without; so no malloc
 * block dies in that cycle, and none is condemned (`malloc_is_spared` in cycle.c).  A distance that is stored
 * after stop 2 is the next cycle's, which has seen the library.
 *
 * While realloc moves an array of leaves, the new one holds distances from the old one, until fontconfig has
 * corrected them.  To lose a leaf by that its thread would have to stand still there from one cycle's stop 2
 * to that of the next: the next one looks at the array, too, and again at what was written since.
 */
#ifndef GCALLOC_GC_DISTANCE_H
#define GCALLOC_GC_DISTANCE_H

#include "gc/object.h"

struct tracer;

extern uint32_t distance_followed;

enum { MALLOC_ALIGNMENT = 16 };         /* of all malloc blocks: sizeclass.h */

/* The malloc block that begins so far behind another one, or before it; not the same one. */
INLINE struct object object_at_distance(uintptr_t block, uintptr_t distance)
{
    struct object none = { NULL, 0 }, object;

    if (distance == 0 || distance % MALLOC_ALIGNMENT != 0)
        return none;
    object = object_at(block + distance);
    if (object.span == NULL || span_kind(object.span) != KIND_MALLOC ||
        span_slot_address(object.span, object.slot) != block + distance)
        return none;
    return object;
}

/* The block that begins at `block`, an object of this kind, if distances from it are followed; else 0. */
INLINE uintptr_t distance_origin(enum kind kind, uintptr_t block)
{
    return UNLIKELY(load_relaxed(&distance_followed) != 0) && kind == KIND_MALLOC ? block : 0;
}

/* What the words in [low, high), a part of a marked or kept block, name as distances is marked or kept. */
void distance_scan(struct tracer *tracer, uintptr_t block, uintptr_t low, uintptr_t high);

#endif
