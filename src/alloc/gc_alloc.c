/* gc_alloc.c -- gc_alloc, when its fast path finds nothing
 *
 * Up to CLEAN_MOST bytes cached slots read as zero (mcache.h), so the fast path of gc_alloc is
 * malloc's.  Larger ones are cleared one by one.
 */
#include "alloc/refill.h"

#include <string.h>

#include "alloc/collect.h"
#include "gc/sweep.h"

/* Pointer-free objects below 16 bytes share a 16-byte block, as in Go; the block
 * lives as long as any of them.  A collection drops the block that is being filled:
 * nothing but its objects keeps it alive. */
static void *tiny_alloc(size_t bytes)
{
    struct thread *thread = thread_self;
    size_t alignment = bytes >= 8 ? 8 : bytes >= 4 ? 4 : bytes >= 2 ? 2 : 1;
    uintptr_t block = thread->tiny;
    size_t offset = align_up(thread->tiny_used, alignment);

    if (block != 0 && thread->tiny_generation == load_acquire(&sweep_generation) &&
        offset + bytes <= 16) {
        thread->tiny_used = (uint32_t)(offset + bytes);
        return (void *)(block + offset);
    }
    void *fresh = alloc_gc(16, KIND_NOSCAN);

    if (fresh == NULL)
        return NULL;
    thread = thread_self;
    thread->tiny = (uintptr_t)fresh;
    thread->tiny_used = (uint32_t)bytes;
    thread->tiny_generation = load_acquire(&sweep_generation);
    return fresh;
}

void *alloc_gc_slow(size_t bytes, enum kind kind)
{
    struct request request = { .bytes = bytes };
    void *block = NULL;

    collect_enable_gc();
    if (UNLIKELY(bytes > PTRDIFF_MAX))
        return NULL;
    if (kind == KIND_NOSCAN && bytes < 16)
        return tiny_alloc(max_size(bytes, 1));
    request.span_class = span_class_of(kind, bytes <= SMALL_MAX ? sizeclass_of_gc(bytes) : 0);
    if (bytes > CLEAN_MOST)     /* not tried yet */
        block = fast_pop(&thread_self->cache, request.span_class);
    if (block == NULL)
        block = refill_and_allocate(&request);
    if (block == NULL || request.zeroed || bytes <= CLEAN_MOST)
        return block;
    size_t slot = size_classes[span_class_size_class(request.span_class)].slot_bytes;

    return memset(block, 0, slot != 0 ? slot : bytes);
}
