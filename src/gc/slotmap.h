/* slotmap.h -- a bit for every slot of every span, beside the heap's own
 *
 * PURPOSE    Scratch for those who check the heap and may not use its bits.
 * OWNER      One user at a time.
 * LIFETIME   Memory comes from meta_alloc, which no root scan looks into; it is kept, and
 *            grows by doubling.  Headers of spans are never unmapped and keep their
 *            number of words, so a span's place in the map is found once.
 */
#ifndef GCALLOC_GC_SLOTMAP_H
#define GCALLOC_GC_SLOTMAP_H

#include "heap/span.h"

struct slotmap {
    uint32_t *first;            /* by span id: the span's first word */
    uint64_t *words;
    size_t spans, spans_room;   /* entries of `first` */
    size_t used, room;          /* of `words` */
};

/* Room for half as many spans again, or more, so that a stop need not ask for more.  False: no
 * memory. */
bool slotmap_prepare(struct slotmap *map);
/* Covers all spans; all bits are 0.  False: no memory. */
bool slotmap_clear_stopped(struct slotmap *map);

/* True when this call set the bit. */
INLINE bool slotmap_set(struct slotmap *map, const struct span *span, uint32_t slot)
{
    uint64_t *word = &map->words[map->first[span->id] + (slot >> 6)];
    uint64_t bit = 1ull << (slot & 63);

    if ((*word & bit) != 0)
        return false;
    *word |= bit;
    return true;
}

/* The bits of 64 slots. */
INLINE uint64_t slotmap_word(const struct slotmap *map, const struct span *span, uint32_t word)
{
    return map->words[map->first[span->id] + word];
}

#endif
