/* census.c -- see census.h */
#include "watch/census.h"

#include <string.h>

#include "world/thread.h"

static void count_bitmaps(struct census *census, struct class_census *class,
                          const struct span *span)
{
    uint64_t condemned = 0;

    for (uint32_t w = 0; w < span->words; w++) {
        const struct slot_bits *bits = &span->bits[w];
        uint64_t freed = load_relaxed(&bits->freed);
        uint64_t taken = load_relaxed(&bits->alloc);
        uint64_t doomed = load_relaxed(&bits->condemned);

        class->objects += count_bits((taken | doomed) & ~freed);
        condemned += count_bits(doomed & ~freed);
    }
    census->condemned_bytes += condemned * span->slot_bytes;
}

static void count_span(struct census *census, const struct span *span)
{
    size_t header = align_up(span_header_bytes(span->words), CACHE_LINE);

    census->header_bytes += header;
    if (!span_in_use(span))
        return;
    unsigned size_class = span_class_size_class(span->span_class);
    struct class_census *class = &census->classes[size_class];
    size_t bytes = (size_t)span->pages << PAGE_SHIFT;

    census->header_bytes_inuse += header;
    class->spans++;
    class->slots += span->slots;
    count_bitmaps(census, class, span);
    if (size_class == 0) {
        class->live++;          /* a large object's span goes when the object does */
        census->large_bytes += bytes;
    } else {
        class->live += load_relaxed(&span->live);
        census->small_bytes += bytes;
    }
}

/* The thread may be running: an entry that it is writing counts for any class. */
static void count_outbox(struct census *census, struct mcache *cache)
{
    uint32_t fill = outbox_fill(cache);

    for (uint32_t i = 0; i < fill; i++) {
        uintptr_t slot = (uintptr_t)load_relaxed(&outbox_entry(cache, i)->slot);
        if (heap_contains(slot))
            census->classes[span_class_size_class(entry_span_class(pagemap_entry(slot)))].cached++;
    }
}

static void count_thread(struct census *census, struct thread *thread)
{
    struct mcache *cache = &thread->cache;

    census->thread_structures++;
    census->threads += load_relaxed(&thread->tid) != 0;
    census->allocated += load_relaxed(&cache->allocated_count);
    census->allocated_bytes += load_relaxed(&cache->allocated_bytes);
    census->flushed += load_relaxed(&cache->freed_count);
    census->refills += load_relaxed(&cache->refills);
    census->flushes += load_relaxed(&cache->flushes);
    census->foreign_frees += load_relaxed(&cache->foreign_frees);
    census->merges += load_relaxed(&cache->merges);
    census->filed += load_relaxed(&cache->filed);
    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        unsigned size_class = span_class_size_class(c);
        census->class_refilled[size_class] += load_relaxed(&cache->classes[c].refilled);
        census->classes[size_class].cached += mcache_cached(cache, c);
    }
    count_outbox(census, cache);
}

void census_take(struct census *census)
{
    uint32_t spans = span_table_size();

    memset(census, 0, sizeof *census);
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        count_thread(census, thread);
    for (uint32_t id = 0; id < spans; id++)
        count_span(census, span_by_id(id));
}

uint64_t census_objects(const struct census *census)
{
    uint64_t objects = 0;

    for (unsigned c = 0; c < SIZE_CLASSES; c++)
        objects += census->classes[c].live;
    return objects;
}

uint64_t census_bytes(const struct census *census)
{
    uint64_t bytes = census->large_bytes;

    for (unsigned c = 1; c < SIZE_CLASSES; c++)
        bytes += census->classes[c].live * size_classes[c].slot_bytes;
    return bytes;
}

uint64_t census_cached_objects(const struct census *census)
{
    uint64_t objects = 0;

    for (unsigned c = 1; c < SIZE_CLASSES; c++)
        objects += census->classes[c].cached;
    return objects;
}

uint64_t census_cached_bytes(const struct census *census)
{
    uint64_t bytes = 0;

    for (unsigned c = 1; c < SIZE_CLASSES; c++)
        bytes += census->classes[c].cached * size_classes[c].slot_bytes;
    return bytes;
}
