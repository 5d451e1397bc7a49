/* runs.c -- see runs.h */
#include "heap/runs.h"

#include "base/check.h"
#include "heap/pages_release.h"

/* --- filing ------------------------------------------------------------------ */

void map_pages(size_t page, size_t pages, const struct span *span)
{
    unsigned class = span != NULL && span->state >= SPAN_SMALL ? span->span_class : 0;
    uint64_t entry = make_entry(span, class);

    for (size_t i = 0; i < pages; i++)
        store_release(&arena.pagemap[page + i], entry);
}

static void map_ends(const struct span *run, const struct span *to)
{
    size_t page = page_index(run->base);

    map_pages(page, 1, to);
    map_pages(page + run->pages - 1, 1, to);
}

static void file_run(struct span *run)
{
    map_ends(run, run);
    bins_insert(run);
    pages_stats.free_pages += run->pages;
    pages_stats.free_runs++;
}

/* The header is given up: who needs what it says reads that before. */
static void unfile_run(struct span *run)
{
    bins_remove(run);
    pages_stats.free_pages -= run->pages;
    pages_stats.free_runs--;
    map_ends(run, NULL);
    span_header_free(run);
}

struct span *runs_at(size_t page)
{
    struct span *run = page << PAGE_SHIFT < arena.heap.ready ? page_span(page) : NULL;

    return run != NULL && run->state == SPAN_FREE ? run : NULL;
}

/* Files [base, base + pages), whose free bits are set, as a free run, merged with its neighbours. */
static void insert_run(struct span *run, uintptr_t base, size_t pages)
{
    size_t page = page_index(base);
    struct span *before = page > 0 ? runs_at(page - 1) : NULL;
    struct span *after = runs_at(page + pages);

    run->base = base;
    run->pages = (uint32_t)pages;
    if (before != NULL) {
        run->base = before->base;
        run->pages += before->pages;
        unfile_run(before);
    }
    if (after != NULL) {
        run->pages += after->pages;
        unfile_run(after);
    }
    run->divider = 0;
    run->slots = 0;
    run->claimed = 1;
    store_release(&run->state, SPAN_FREE);
    file_run(run);
}

/* --- adding and cutting -------------------------------------------------------- */

void runs_add(struct span *run, uintptr_t base, size_t pages)
{
    size_t page = page_index(base);

    chunks_set_free(page, pages, true);
    pages_idle += chunks_held(page, pages);
    insert_run(run, base, pages);
}

bool run_spares_take(struct run_spares *spares)
{
    for (int i = 0; i < 2; i++)
        spares->run[i] = span_header_alloc(1);
    if (spares->run[0] != NULL && spares->run[1] != NULL)
        return true;
    run_spares_return(spares);
    return false;
}

void run_spares_return(struct run_spares *spares)
{
    for (int i = 0; i < 2; i++)
        if (spares->run[i] != NULL)
            span_header_free(spares->run[i]);
}

static void insert_rest(struct span **spare, uintptr_t base, size_t pages)
{
    if (pages == 0)
        return;
    insert_run(*spare, base, pages);
    *spare = NULL;
}

size_t runs_cut(struct span *run, uintptr_t base, size_t pages, struct run_spares *spares)
{
    uintptr_t run_base = run->base;
    size_t page = page_index(base);
    size_t before = (base - run_base) >> PAGE_SHIFT;
    size_t after = run->pages - before - pages;
    size_t held = chunks_held(page, pages);

    unfile_run(run);
    chunks_set_free(page, pages, false);
    pages_idle -= held;
    insert_rest(&spares->run[0], run_base, before);
    insert_rest(&spares->run[1], base + (pages << PAGE_SHIFT), after);
    return held;
}

bool runs_grow(size_t pages)
{
    struct span *run = span_header_alloc(1);

    if (run == NULL)
        return false;
    /* The first page stays empty: our own data, which is searched like any other, has its address, and an
     * object there would live for ever. */
    size_t hole = arena.heap.ready == 0 ? 1 : 0;
    uintptr_t base = arena.base + arena.heap.ready + (hole << PAGE_SHIFT);
    size_t grown = arena_grow_locked(pages + hole);

    if (grown == 0) {
        span_header_free(run);
        return false;
    }
    pages_stats.heap_pages += grown;
    pages_stats.lost_pages += hole;
    runs_add(run, base, grown - hole);
    return true;
}

/* --- lending ------------------------------------------------------------------- */

/* The free run that contains the page: its free bits are one stretch, between bits that are not. */
static struct span *run_around(size_t page)
{
    uint64_t used = ~chunk_of(page)->free & (~0ull >> (63 - page % CHUNK_PAGES));

    page -= page % CHUNK_PAGES;
    while (used == 0 && page > 0) {
        page -= CHUNK_PAGES;
        used = ~chunk_of(page)->free;
    }
    return page_span(used == 0 ? 0 : page + log2_floor(used) + 1);
}

struct span *runs_borrow(size_t page, size_t pages)
{
    ASSERT(lock_is_held(&pages_lock));
    struct span *borrowed = span_header_alloc(1);
    struct run_spares spares;

    if (borrowed == NULL)
        return NULL;
    if (!run_spares_take(&spares)) {
        span_header_free(borrowed);
        return NULL;
    }
    borrowed->base = arena.base + (page << PAGE_SHIFT);
    borrowed->pages = (uint32_t)pages;
    runs_cut(run_around(page), borrowed->base, pages, &spares);
    run_spares_return(&spares);
    pages_stats.borrowed_pages += pages;
    return borrowed;
}

void runs_give_back(struct span *borrowed)
{
    ASSERT(lock_is_held(&pages_lock));
    pages_stats.borrowed_pages -= borrowed->pages;
    runs_add(borrowed, borrowed->base, borrowed->pages);
}

/* --- self-distrust --------------------------------------------------------------- */

static size_t count_free_bits(void)
{
    size_t count = 0;

    CHUNKS_EACH(chunk, mask, 0, arena.heap.ready >> PAGE_SHIFT)
        count += count_bits(chunk->free & mask);
    return count;
}

struct sums {
    size_t pages, idle;
};

static void check_run(const struct span *run, void *argument)
{
    struct sums *sums = argument;
    size_t page = page_index(run->base);

    CHECK(run->state == SPAN_FREE);
    CHECK(page_span(page) == run && page_span(page + run->pages - 1) == run);
    CHECK(page == 0 || runs_at(page - 1) == NULL);
    CHECK(run_around(page + run->pages / 2) == run);
    sums->pages += run->pages;
    sums->idle += chunks_held(page, run->pages);
}

size_t runs_check(void)
{
    struct sums sums = { 0 };

    bins_each(check_run, &sums);
    CHECK(sums.pages == pages_stats.free_pages && sums.pages == count_free_bits());
    CHECK(sums.idle == pages_idle);
    return sums.pages;
}
