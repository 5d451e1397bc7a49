/* distance.c -- see distance.h */
#include "gc/distance.h"

#include "gc/trace.h"
#include "heap/ceded.h"

uint32_t distance_followed;

static void note_distance(struct tracer *tracer, uintptr_t block, uintptr_t distance)
{
    struct object object = object_at_distance(block, distance);

    if (object.span != NULL && !span_is_marked(object.span, object.slot))
        trace_word(tracer, block + distance);
}

/* Few words pass for distances, and each is looked up at once; no branch depends on the others. */
static void scan_loadable(struct tracer *tracer, uintptr_t block, uintptr_t low, uintptr_t high)
{
    const uintptr_t first = arena.base - block;         /* distance of the heap's beginning */
    const size_t heap = load_relaxed(&arena.bytes);

    for (uintptr_t at = align_up(low, sizeof at); at + sizeof at <= high; at += sizeof at) {
        uintptr_t distance = load_relaxed((const uintptr_t *)at);

        if (UNLIKELY((distance - first < heap) & (distance % MALLOC_ALIGNMENT == 0) & (distance != 0)))
            note_distance(tracer, block, distance);
    }
}

void distance_scan(struct tracer *tracer, uintptr_t block, uintptr_t low, uintptr_t high)
{
    for (uintptr_t end; low < high; low = end) {
        end = high;
        if (UNLIKELY(load_relaxed(&ceded_unloadable) != 0))
            ceded_loadable(&low, &end);
        scan_loadable(tracer, block, low, end);
    }
}
