/* pages.c -- see pages.h
 *
 * Spans are cut from free runs (heap/runs.h) at their low ends.
 *
 * The last few large objects that were freed are kept whole, for a program that allocates a large
 * buffer, frees it, and allocates it again: the page map still names them at every page, so nothing is
 * written for each page.  They become free runs when a large object of another size is wanted, when a
 * small span finds nothing else, and when idle memory is looked for, several times a second.
 *
 * Large objects of a megabyte and more lie at multiples of 64 KiB, which are also the steps of their
 * sizes: what was in memory of one is what the next one touches, and fewer free runs of odd lengths are
 * left between them.
 */
#include "heap/pages_release.h"

#include "base/check.h"
#include "heap/huge.h"
#include "heap/runs.h"
#include "os/host.h"
#include "os/vm.h"

enum {
    KEPT_MOST = 8,
    STEP_PAGES = 8,             /* large objects of STEP_FROM pages and more are so many times as long, */
    STEP_FROM = 128,            /* and lie at such multiples */
};

/* Pages that stay where they are are memory, too. */
static const size_t COPY_MOST = (size_t)24 << 20;

AT_START ALIGNED(CACHE_LINE) struct lock pages_lock = LOCK_INIT(HEAP);
AT_START struct pages_stats pages_stats;
AT_START size_t pages_idle;
AT_START size_t pages_kept;
AT_START size_t pages_copy_most;
/* All under HEAP. */
static AT_START struct span *kept[KEPT_MOST];   /* the first kept_count */
static AT_START unsigned kept_count;

/* Pages that a span in use gets, or gives up (NULL). */
static void map_span_pages(size_t page, size_t pages, enum kind kind, struct span *span)
{
    map_pages(page, pages, span);
    chunks_set_kind(page, pages, kind, span != NULL);
}

/* --- kept whole ------------------------------------------------------------- */

/* A large object without kind bits and state; its page map entries stay. */
static void keep_whole(struct span *span)
{
    if (kept_count == KEPT_MOST)
        pages_file_kept_locked();
    store_release(&span->state, SPAN_KEPT);
    pages_kept += span->pages;
    kept[kept_count++] = span;
}

void pages_file_kept_locked(void)
{
    ASSERT(lock_is_held(&pages_lock));
    while (kept_count > 0) {
        struct span *span = kept[--kept_count];
        uintptr_t base = span->base;
        size_t pages = span->pages;

        pages_kept -= pages;
        map_pages(page_index(base), pages, NULL);
        store_release(&span->state, SPAN_UNUSED);
        /* The header serves the free run, whatever its bitmap: giving back cannot fail. */
        runs_add(span, base, pages);
    }
}

/* The one freed last, of that many pages. */
static struct span *take_kept(enum kind kind, size_t pages, size_t align_bytes)
{
    for (unsigned i = kept_count; i-- > 0;) {
        struct span *span = kept[i];

        if (span->pages != pages || span_kind(span) != kind ||
            (span->base & (align_bytes - 1)) != 0)
            continue;
        kept[i] = kept[--kept_count];
        pages_kept -= pages;
        return span;
    }
    return NULL;
}

/* --- pages for a span --------------------------------------------------------- */

/* Cuts a part out of a run for a span.  True: it reads as zero. */
static bool use_pages(struct span *run, uintptr_t base, size_t pages, struct run_spares *spares)
{
    size_t page = page_index(base);
    bool zeroed = runs_cut(run, base, pages, spares) == 0;

    chunks_set_held(page, pages, true);
    chunks_stamp(page, pages, host_clock_coarse_ms());
    return zeroed;
}

/* Pages for a span, aligned; 0 when there is no memory. */
static uintptr_t take_pages(size_t pages, size_t align_bytes, struct run_spares *spares, bool *zeroed)
{
    struct span *run = bins_find(pages, align_bytes);

    if (run == NULL && kept_count != 0) {
        pages_file_kept_locked();
        run = bins_find(pages, align_bytes);
    }
    if (run == NULL) {
        size_t slack = (align_bytes >> PAGE_SHIFT) - 1;

        if (!runs_grow(pages + slack))
            return 0;
        run = bins_find(pages + slack, PAGE_BYTES);
    }
    uintptr_t base = run_place(run, pages, align_bytes);

    *zeroed = use_pages(run, base, pages, spares);
    return base;
}

static struct span *alloc_span(unsigned span_class, uint32_t words, size_t pages,
                               size_t align_bytes, uint32_t sweepgen, bool *zeroed)
{
    struct span *span = span_header_alloc(words);
    struct run_spares spares;

    if (span == NULL)
        return NULL;
    if (!run_spares_take(&spares)) {
        span_header_free(span);
        return NULL;
    }
    uintptr_t base = take_pages(pages, align_bytes, &spares, zeroed);

    run_spares_return(&spares);
    if (base == 0) {
        span_header_free(span);
        return NULL;
    }
    size_t page = page_index(base);

    span->base = base;
    span->pages = (uint32_t)pages;
    span->zeroed = *zeroed;
    store_relaxed(&span->sweepgen, sweepgen);
    span_format(span, span_class);
    map_span_pages(page, pages, span_kind(span), span);
    return span;
}

struct span *pages_alloc_small(unsigned span_class, size_t pages, uint32_t sweepgen)
{
    const struct size_class *class = &size_classes[span_class_size_class(span_class)];
    uintptr_t fault = 0;
    bool zeroed;

    lock_acquire(&pages_lock);
    struct span *span =
        alloc_span(span_class, span_words(class, pages), pages, PAGE_BYTES, sweepgen, &zeroed);
    if (span != NULL) {
        pages_stats.small_spans++;
        pages_stats.small_bytes += (size_t)span->pages << PAGE_SHIFT;
        fault = huge_follow_locked(span);
    }
    size_t over = pages_over_limit_locked();

    lock_release(&pages_lock);
    huge_fault(fault);
    pages_release_over_limit(over);
    return span;
}

static size_t large_pages(size_t bytes)
{
    size_t pages = (bytes + PAGE_BYTES - 1) >> PAGE_SHIFT;

    return pages < STEP_FROM ? pages : align_up(pages, STEP_PAGES);
}

/* Makes a span of a kept one again. */
static void reuse_kept(struct span *span, uint32_t sweepgen)
{
    span->zeroed = false;
    store_relaxed(&span->sweepgen, sweepgen);
    chunks_set_kind(page_index(span->base), span->pages, span_kind(span), true);
    span_format(span, span->span_class);
}

static struct span *alloc_large(enum kind kind, size_t pages, size_t align_bytes, uint32_t sweepgen,
                                bool *zeroed)
{
    struct span *span = take_kept(kind, pages, align_bytes);

    if (span == NULL) {
        pages_file_kept_locked();
        return alloc_span(span_class_of(kind, 0), 1, pages, align_bytes, sweepgen, zeroed);
    }
    reuse_kept(span, sweepgen);
    *zeroed = false;
    return span;
}

struct span *pages_alloc_large(enum kind kind, size_t bytes, size_t align_bytes, uint32_t sweepgen,
                               bool *zeroed)
{
    size_t pages = large_pages(bytes);

    if (bytes > arena.heap.reserved || align_bytes > arena.heap.reserved)
        return NULL;
    align_bytes = max_size(align_bytes, pages >= STEP_FROM ? STEP_PAGES << PAGE_SHIFT : PAGE_BYTES);
    lock_acquire(&pages_lock);
    struct span *span = alloc_large(kind, pages, align_bytes, sweepgen, zeroed);
    if (span != NULL) {
        span->requested = bytes;
        span->live = 1;
        store_release(&span->bits[0].alloc, 1);
        span->slot_state[0] = SLOT_OUT;
        pages_stats.large_spans++;
        pages_stats.large_bytes += (size_t)pages << PAGE_SHIFT;
    }
    size_t over = pages_over_limit_locked();

    lock_release(&pages_lock);
    pages_release_over_limit(over);
    pages_idle_check();
    return span;
}

/* --- coming back ------------------------------------------------------------ */

/* A mapping that pages were moved into cannot merge with its neighbours; a fresh
 * one can.  When the kernel refuses, the range is retired: never used again. */
static bool renew_moved(struct span *span)
{
    size_t bytes = (size_t)span->pages << PAGE_SHIFT;

    if (!span->moved)
        return true;
    store_relaxed(&pages_copy_most, max_size(pages_copy_most, min_size(bytes, COPY_MOST)));
    if (!vm_renew((void *)span->base, bytes)) {
        pages_stats.lost_pages += span->pages;
        vm_release((void *)span->base, bytes);
        return false;
    }
    chunks_set_held(page_index(span->base), span->pages, false);
    return true;
}

static void forget_span(struct span *span)
{
    size_t bytes = (size_t)span->pages << PAGE_SHIFT;

    if (span->state == SPAN_LARGE) {
        pages_stats.large_spans--;
        pages_stats.large_bytes -= bytes;
    } else {
        pages_stats.small_spans--;
        pages_stats.small_bytes -= bytes;
    }
}

static void free_pages(struct span *span)
{
    uintptr_t base = span->base;
    size_t pages = span->pages;
    size_t page = page_index(base);

    chunks_stamp(page, pages, host_clock_coarse_ms());
    if (span->state == SPAN_LARGE && !span->moved) {
        chunks_set_kind(page, pages, span_kind(span), false);
        keep_whole(span);
        return;
    }
    map_span_pages(page, pages, span_kind(span), NULL);
    store_release(&span->state, SPAN_UNUSED);
    /* The header serves the free run, whatever its bitmap: giving back cannot fail. */
    if (renew_moved(span))
        runs_add(span, base, pages);
    else
        span_header_free(span);
}

void pages_free(struct span *span)
{
    ASSERT(load_relaxed(&span->claimed) == 1);
    lock_acquire(&pages_lock);
    ASSERT(span_in_use(span));
    forget_span(span);
    free_pages(span);
    void (*wake)(void) = pages_waker_locked();

    lock_release(&pages_lock);
    if (UNLIKELY(wake != NULL))
        wake();
    pages_idle_check();
}

/* --- resizing a large object where it is -------------------------------------- */

static bool shrink_locked(struct span *span, size_t pages)
{
    struct span *run = span_header_alloc(1);
    size_t page = page_index(span->base);
    size_t old = span->pages;

    if (run == NULL)
        return false;
    map_span_pages(page + pages, old - pages, span_kind(span), NULL);
    span->pages = (uint32_t)pages;
    span->slot_bytes = pages << PAGE_SHIFT;
    chunks_stamp(page + pages, old - pages, host_clock_coarse_ms());
    runs_add(run, span->base + (pages << PAGE_SHIFT), old - pages);
    return true;
}

/* The free run behind a large object, if it is long enough.  At its end the heap grows for it. */
static struct span *run_behind(size_t page, size_t pages)
{
    struct span *run = runs_at(page);
    size_t there = run != NULL ? run->pages : 0;

    if (there < pages && (page + there) << PAGE_SHIFT == arena.heap.ready && runs_grow(pages - there))
        run = runs_at(page);
    return run != NULL && run->pages >= pages ? run : NULL;
}

static bool extend_locked(struct span *span, size_t pages)
{
    size_t page = page_index(span->base);
    size_t old = span->pages;
    struct run_spares spares;

    pages_file_kept_locked();
    struct span *run = run_behind(page + old, pages - old);

    if (run == NULL || !run_spares_take(&spares))
        return false;
    use_pages(run, run->base, pages - old, &spares);
    run_spares_return(&spares);
    map_span_pages(page + old, pages - old, span_kind(span), span);
    span->pages = (uint32_t)pages;
    span->slot_bytes = pages << PAGE_SHIFT;
    return true;
}

bool pages_resize_large(struct span *span, size_t bytes)
{
    size_t pages = large_pages(bytes);
    bool done = true;

    if (bytes > arena.heap.reserved)
        return false;
    lock_acquire(&pages_lock);
    pages_stats.large_bytes -= (size_t)span->pages << PAGE_SHIFT;
    if (pages < span->pages)
        shrink_locked(span, pages);     /* failing leaves it larger than needed */
    else if (pages > span->pages)
        done = !span->moved && extend_locked(span, pages);
    pages_stats.large_bytes += (size_t)span->pages << PAGE_SHIFT;
    if (done)
        span->requested = bytes;
    lock_release(&pages_lock);
    return done;
}

/* --- self-distrust ------------------------------------------------------------------ */

uint64_t pages_in_use_bytes(void)
{
    lock_acquire(&pages_lock);
    uint64_t bytes = pages_stats.small_bytes + pages_stats.large_bytes;

    lock_release(&pages_lock);
    return bytes;
}

void pages_stats_read(struct pages_stats *out)
{
    lock_acquire(&pages_lock);
    *out = pages_stats;
    out->largest_free_run = bins_largest();
    out->released_pages = out->free_pages - pages_idle;
    out->free_pages += pages_kept;
    out->free_runs += kept_count;
    lock_release(&pages_lock);
}

/* The kind bits say what the page map says. */
static void check_kinds(size_t page)
{
    const struct span *span = page_span(page);
    bool in_use = span != NULL && span->state >= SPAN_SMALL;

    for (unsigned kind = 0; kind < KINDS; kind++)
        CHECK((chunk_of(page)->kind[kind] >> page % CHUNK_PAGES & 1) ==
              (in_use && span_kind(span) == kind));
}

static size_t check_kept(void)
{
    size_t pages = 0;

    for (unsigned i = 0; i < kept_count; i++) {
        CHECK(kept[i]->state == SPAN_KEPT && !kept[i]->moved);
        for (size_t page = 0; page < kept[i]->pages; page++)
            CHECK(page_span(page_index(kept[i]->base) + page) == kept[i]);
        pages += kept[i]->pages;
    }
    CHECK(pages == pages_kept);
    return pages;
}

bool pages_check(void)
{
    lock_acquire(&pages_lock);
    size_t free_pages = runs_check();

    for (size_t page = 0; page < arena.heap.ready >> PAGE_SHIFT; page++)
        check_kinds(page);
    CHECK((pages_stats.small_bytes + pages_stats.large_bytes) >> PAGE_SHIFT ==
          pages_stats.heap_pages - free_pages - check_kept() - pages_stats.lost_pages -
              pages_stats.borrowed_pages);
    lock_release(&pages_lock);
    return true;
}

void pages_fork_child(void)
{
    lock_reset(&pages_lock);
    pages_release_fork_child();
}
