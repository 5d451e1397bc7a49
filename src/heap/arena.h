/* arena.h -- the one reservation, and the map from address to span
 *
 * PURPOSE    [metadata regions | heap], reserved once and made ready from the
 *            low end of each region as it grows, so that the kernel sees two
 *            mappings a region.  "Is this word a heap address" is one
 *            subtraction and one compare; span_of needs no lock.
 * OWNER      Regions grow under HEAP (heap, page map, span table) or META.
 * LIFETIME   For ever.  Nothing in the metadata regions is ever unmapped.
 */
#ifndef GCALLOC_HEAP_ARENA_H
#define GCALLOC_HEAP_ARENA_H

#include "base/atomics.h"
#include "base/bits.h"

#define PAGE_SHIFT 13
#define PAGE_BYTES ((size_t)1 << PAGE_SHIFT)

struct span;

/* A stretch of the reservation, ready up to a mark. */
struct region {
    uintptr_t base;             /* constant */
    size_t reserved;            /* constant; bytes */
    size_t ready;               /* bytes; grows under the region's lock; meta_bytes reads it without */
};

struct arena {
    /* Read by every free and by the marker. */
    uintptr_t base;             /* of the heap; constant once reserved */
    size_t bytes;               /* ready bytes of the heap; atomic, grows under HEAP */
    uint64_t *pagemap;          /* an entry per page; atomic, written under HEAP */
    /* The rest. */
    struct region heap;
    struct region map;          /* page map */
    struct region chunks;       /* a struct chunk for 64 pages: heap/chunk.h */
    struct region table;        /* span table: id -> span */
    struct region meta;         /* meta_alloc */
    uintptr_t start, end;       /* the whole reservation */
};

/* All zero until the first meta_alloc makes the reservation. */
extern struct arena arena;

/* Makes at least `pages` more heap pages ready; HEAP held.  Returns how many, 0 when refused. */
size_t arena_grow_locked(size_t pages);
/* Makes the first `bytes` of a metadata region ready, in steps that grow with it; the region's
 * lock held. */
bool region_ensure(struct region *region, size_t bytes, size_t step);

/* Is the address inside the reservation (heap or metadata)? */
INLINE bool arena_owns(uintptr_t address)
{
    return address - arena.start < arena.end - arena.start;
}

/* Offset of an address in the heap; not below arena.bytes for anything else. */
INLINE size_t heap_offset(uintptr_t address)
{
    return address - arena.base;
}

INLINE bool heap_contains(uintptr_t address)
{
    return heap_offset(address) < load_relaxed(&arena.bytes);
}

/* A page map entry: the span's address times 2^16, and its span class in the low 16 bits.  The class
 * is there so that free reaches its magazine with one load less. */
INLINE uint64_t make_entry(const struct span *span, unsigned span_class)
{
    return (uint64_t)(uintptr_t)span << 16 | span_class;
}

INLINE uint64_t pagemap_entry(uintptr_t address)
{
    return load_acquire(&arena.pagemap[heap_offset(address) >> PAGE_SHIFT]);
}

INLINE struct span *entry_span(uint64_t entry)
{
    return (struct span *)(entry >> 16);
}

INLINE unsigned entry_span_class(uint64_t entry)
{
    return (uint16_t)entry;
}

/* The span of a heap address, or NULL.  heap_contains(address) must hold.  Spans
 * are type-stable: the answer may be stale, never dangling. */
INLINE struct span *span_of(uintptr_t address)
{
    return entry_span(pagemap_entry(address));
}

/* Zero-filled metadata, 64-byte aligned, never freed.  NULL when refused. */
void *meta_alloc(size_t bytes);
/* Sees to it that a table of `count` rows has room for some more.  *rows becomes one from meta_alloc, twice
 * as long; the outgrown one is left behind.  False: no memory, and all is as it was. */
bool meta_make_room(void *rows, size_t *capacity, size_t count, size_t more, size_t row_bytes);
/* Of all metadata made ready. */
size_t meta_bytes(void);
void arena_fork_child(void);

#endif
