/* refill.c -- when a fast path finds nothing
 *
 * Each step is tried only when the one before it failed:
 *     1. the thread's own spans, and those that others filed on its ready list
 *     2. spans without a living home
 *     3. while a sweep is going on: sweep some spans, then 1 again
 *     4. gc_alloc memory: spans that were filed on the ready lists of other threads
 *     5. a fresh span from the page heap
 *     6. spans that dead threads left behind, empty spans of all classes given back
 *     7. a collection, waited for
 *     8. NULL
 */
#include "alloc/refill.h"

#include <string.h>

#include "alloc/collect.h"
#include "base/options.h"
#include "gc/sweep.h"
#include "heap/pages.h"
#include "heap/ready.h"
#include "os/vm.h"

enum {
    SWEEP_STEP = 8,             /* spans swept between two looks at the own ready list */
    SWEEP_STEPS = 4,            /* bounds what one allocation pays; the background sweeps on */
    NEIGHBOURS = 8,             /* threads whose ready lists are looked at */
};

/* Step 6.  A dead thread's ready list may get spans after it was abandoned. */
static void adopt_orphans(void)
{
    thread_reap_dead();
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        if (load_relaxed(&thread->tid) == 0)
            mcache_abandon_ready(&thread->cache);
}

static size_t give_empty_spans_back(void)
{
    size_t freed = 0;

    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
            freed += ready_trim(&thread->cache.classes[c].ready, 0);
        freed += ready_trim(&central[c], 0);
    }
    return freed;
}

bool refill_reclaim_spans(void)
{
    while (sweep_some(SWEEP_STEP))
        ;
    return give_empty_spans_back() != 0;
}

static uint32_t refill_ready(struct mcache *cache, unsigned span_class)
{
    uint32_t taken = mcache_refill(cache, span_class);

    if (taken == 0 && mcache_take_central(cache, span_class))
        taken = mcache_refill(cache, span_class);
    for (int step = 0; taken == 0 && step < SWEEP_STEPS && !sweep_is_done(); step++) {
        sweep_some(SWEEP_STEP);
        taken = mcache_refill(cache, span_class);
    }
    return taken;
}

/* gc_alloc memory is swept back to the thread that it was allocated by, though another may need it next:
 * a heap would grow by what one thread has and the other misses.  Malloc blocks stay at home: they
 * are freed to where they came from. */
static uint32_t refill_borrowed(struct thread *thread, unsigned span_class)
{
    struct mcache *cache = &thread->cache;
    struct thread *other = thread;

    if (span_class_kind(span_class) == KIND_MALLOC)
        return 0;
    for (int looks = 0; looks < NEIGHBOURS; looks++) {
        other = other->next != NULL ? other->next : thread_list();
        if (other == thread)
            break;
        if (mcache_take_ready(cache, span_class, &other->cache.classes[span_class].ready))
            return mcache_refill(cache, span_class);
    }
    return 0;
}

static uint32_t refill_fresh(struct mcache *cache, unsigned span_class)
{
    size_t pages = mcache_fresh_pages(cache, span_class);
    struct span *span = pages_alloc_small(span_class, pages, sweep_generation);

    return span != NULL ? mcache_adopt(cache, span_class, span) : 0;
}

static bool refill(struct thread *thread, unsigned span_class)
{
    struct mcache *cache = &thread->cache;
    uint32_t taken = refill_ready(cache, span_class);

    if (taken == 0)
        taken = refill_borrowed(thread, span_class);
    if (taken == 0)
        taken = refill_fresh(cache, span_class);
    if (taken == 0) {
        adopt_orphans();
        taken = refill_ready(cache, span_class);
        if (taken == 0 && refill_reclaim_spans())
            taken = refill_fresh(cache, span_class);
    }
    return taken != 0;
}

/* While a cycle marks: the slots that have just come into the strip, if they are neighbours.  A handler
 * of the program may use the barrier in between: it sees an empty range, or the whole.  One that
 * allocates leaves an empty range; if it took of the strip meanwhile, `free` is not what it was, or all
 * that it may name is black: the old strip's slots and the new one's. */
static void note_born(struct thread *thread, unsigned span_class)
{
    struct strip *strip = mcache_strip(&thread->cache, span_class), born;

    store_relaxed(&thread->born_bytes, 0);
    if (strip == NULL || load_relaxed(&thread->in_runtime) != 1)
        return;
    born = *strip;
    COMPILER_BARRIER();
    if (born.free == 0 || born.free != *(volatile uint64_t *)&strip->free || !is_one_run(born.free))
        return;
    store_relaxed(&thread->born_low, born.first + lowest_bit(born.free) * born.slot_bytes);
    COMPILER_BARRIER();
    store_relaxed(&thread->born_bytes, count_bits(born.free) * born.slot_bytes);
}

static void *small_slow(struct thread *thread, unsigned span_class)
{
    struct mcache *cache = &thread->cache;
    bool collected = false;

    for (;;) {
        void *block = fast_take(cache, span_class);
        if (block != NULL)
            return block;
        if (!refill(thread, span_class)) {
            if (collected || !collect_for_memory(thread))
                return NULL;
            collected = true;
        } else if (UNLIKELY(load_relaxed(&span_allocate_black))) {
            note_born(thread, span_class);
        }
        collect_account(thread);
        collect_assist(thread);
    }
}

static void *large_slow(struct thread *thread, size_t bytes, size_t alignment, enum kind kind,
                        bool *zeroed)
{
    /* More than there can ever be: no collection would help. */
    if (bytes > arena.heap.reserved || alignment > arena.heap.reserved)
        return NULL;
    for (bool collected = false;; collected = true) {
        struct span *span = pages_alloc_large(kind, bytes, alignment, sweep_generation, zeroed);
        if (span == NULL && refill_reclaim_spans())
            span = pages_alloc_large(kind, bytes, alignment, sweep_generation, zeroed);
        if (span != NULL) {
            if (load_relaxed(&span_allocate_black))
                span_mark(span, 0);
            if (UNLIKELY(options.gccheckmark) && !*zeroed)
                memset((void *)span->base, 0, span->slot_bytes);
            collect_account_large(thread, kind, (int64_t)span->slot_bytes);
            collect_assist(thread);
            return (void *)span->base;
        }
        if (collected || !collect_for_memory(thread))
            return NULL;
    }
}

void *refill_and_allocate(struct request *request)
{
    struct thread *thread = runtime_enter();
    void *block;

    request->zeroed = false;
    if (thread == NULL)
        return NULL;
    if (span_class_size_class(request->span_class) != 0)
        block = small_slow(thread, request->span_class);
    else
        block = large_slow(thread, request->bytes, request->alignment,
                           span_class_kind(request->span_class), &request->zeroed);
    bool wanted = thread->wants_cycle, nap = thread->nap_ns != 0;

    runtime_leave(thread);
    if (UNLIKELY(wanted))
        collect_start_wanted();
    if (UNLIKELY(nap))
        collect_nap(thread);
    return block;
}

void *alloc_malloc_slow(size_t bytes)
{
    struct request request = { .bytes = bytes + malloc_pad() };

    if (UNLIKELY(bytes > PTRDIFF_MAX))
        return NULL;
    request.span_class = bytes <= SMALL_MAX ? sizeclass_of_malloc(bytes) : 0;
    return refill_and_allocate(&request);
}

/* The smallest class whose slots are all aligned; 0 when a large object is needed. */
static unsigned aligned_class(size_t alignment, size_t bytes)
{
    if (alignment > PAGE_BYTES || bytes > SMALL_MAX)
        return 0;
    for (unsigned class = sizeclass_of(max_size(bytes, alignment)); class < SIZE_CLASSES; class++)
        if (size_classes[class].slot_bytes % alignment == 0)
            return class;
    return 0;
}

void *alloc_malloc_aligned(size_t alignment, size_t bytes)
{
    struct request request = { .bytes = max_size(bytes, 1) + malloc_pad(), .alignment = alignment };

    if (bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX)
        return NULL;
    if (alignment <= 16)
        return alloc_malloc(bytes);
    request.span_class = aligned_class(alignment, request.bytes);
    if (request.span_class != 0) {
        void *block = fast_pop(&thread_self->cache, request.span_class);
        if (LIKELY(block != NULL))
            return block;
    }
    return refill_and_allocate(&request);
}

FAST void *alloc_calloc(size_t bytes)
{
    struct request request = { .bytes = bytes + malloc_pad() };

    if (LIKELY(bytes <= SMALL_MAX)) {
        void *block = alloc_malloc(bytes);
        return block != NULL ? memset(block, 0, bytes) : NULL;
    }
    if (bytes > PTRDIFF_MAX)
        return NULL;
    void *block = refill_and_allocate(&request);

    if (block != NULL && !request.zeroed)
        vm_clear(block, bytes);
    return block;
}
