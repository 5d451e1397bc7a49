/* chunk.h -- what is known of every page, 64 pages at a time
 *
 * PURPOSE    A bit for each page of the heap that may hold memory, a bit for each that is in a
 *            free run, one for each that is a span's, by kind, and when something was last allocated
 *            or freed near it.  The page heap keeps them; whoever returns memory to the OS, or
 *            tracks what is written, reads them, in address order, without looking at a span.
 * OWNER      HEAP.  The kind bits are atomic: read without it.
 * INVARIANT  (pages_check) the free bits are the pages of the runs in bins.  A page that was
 *            never used, or was released since, has no held bit and reads as zero.
 */
#ifndef GCALLOC_HEAP_CHUNK_H
#define GCALLOC_HEAP_CHUNK_H

#include "heap/arena.h"
#include "heap/sizeclass.h"

enum { CHUNK_PAGES = 64 };              /* 512 KiB of heap */

struct chunk {
    uint64_t held;                      /* pages that may hold memory */
    uint64_t free;                      /* pages of free runs */
    uint64_t kind[KINDS];               /* pages of spans that are in use; atomic */
    uint32_t used_at;                   /* coarse ms, modulo 2^32 */
};

INLINE struct chunk *chunk_of(size_t page)
{
    return (struct chunk *)arena.chunks.base + page / CHUNK_PAGES;
}

/* Visits the chunks of [at, end): `mask` are its pages in `chunk`. */
#define CHUNKS_EACH(chunk, mask, at, end)                                                     \
    for (size_t page_ = (at), end_ = (end), n_; page_ < end_; page_ += n_)                    \
        for (struct chunk *chunk = (n_ = min_size(end_ - page_, CHUNK_PAGES - page_ % 64),    \
                                    chunk_of(page_));                                         \
             chunk != NULL; chunk = NULL)                                                     \
            for (uint64_t mask = (~0ull >> (64 - n_)) << page_ % 64; mask != 0; mask = 0)

INLINE size_t chunks_held(size_t page, size_t pages)
{
    size_t count = 0;

    CHUNKS_EACH(chunk, mask, page, page + pages)
        count += count_bits(chunk->held & mask);
    return count;
}

INLINE void chunks_set_held(size_t page, size_t pages, bool value)
{
    CHUNKS_EACH(chunk, mask, page, page + pages)
        chunk->held = value ? chunk->held | mask : chunk->held & ~mask;
}

INLINE void chunks_set_free(size_t page, size_t pages, bool value)
{
    CHUNKS_EACH(chunk, mask, page, page + pages)
        chunk->free = value ? chunk->free | mask : chunk->free & ~mask;
}

INLINE void chunks_set_kind(size_t page, size_t pages, enum kind kind, bool value)
{
    CHUNKS_EACH(chunk, mask, page, page + pages) {
        uint64_t before = load_relaxed(&chunk->kind[kind]);

        store_relaxed(&chunk->kind[kind], value ? before | mask : before & ~mask);
    }
}

INLINE void chunks_stamp(size_t page, size_t pages, uint64_t now_ms)
{
    CHUNKS_EACH(chunk, mask, page, page + pages)
        chunk->used_at = (uint32_t)now_ms;
}

#endif
