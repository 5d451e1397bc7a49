/* dirty.c -- see dirty.h
 *
 * What is tracked changes as spans come and go, so each walk finds its runs anew, in the kind bits
 * of heap/chunk.h: 128 words a GiB, so that stop 2 need not notice how large the heap is.  Small
 * gaps are bridged.
 *
 * A run that answers -EPERM holds memory that is not registered: pages that realloc or the program moved,
 * or a mapping made afresh.  All of it counts as written, and it is registered again.  Its neighbours may
 * have lost their registration by that, and kept their marks (os/userfault.h).  So nothing is registered
 * but what is disarmed right afterwards, before the kernel is asked about it; and when that fails
 * everything is given up.
 */
#include "gc/dirty.h"

#include <errno.h>

#include "base/options.h"
#include "base/park.h"
#include "gc/mark.h"
#include "heap/chunk.h"
#include "heap/span.h"
#include "os/pagemap.h"
#include "os/vm.h"

enum {
    GAP_PAGES = HOSTILE(8, 1),              /* heap pages between two runs that are not worth another call */
    RANGES = HOSTILE(2048, 1),
    PIECE_PAGES = HOSTILE(2048, 256),   /* 16 MiB a call: other threads' mmap waits for it */
    PIECE_PAUSE_NS = 50000,
    ATTEMPTS = 8,               /* at registering what the program moves meanwhile */
    HUGE_PAGES = 256,           /* 2 MiB: to arm a part of a huge page, the kernel splits it */
};

static struct {
    struct userfault userfault;
    struct pagemap pagemap;
    struct page_range *ranges;  /* from meta_alloc */
    long listed;                /* of them in use */
    bool open;
    bool armed;                 /* something was, once: there may be old marks */
} dirty = { .userfault.fd = -1, .pagemap.fd = -1 };

struct run {
    size_t low, high;           /* pages of the heap */
};

void dirty_close(void)
{
    pagemap_close(&dirty.pagemap);
    userfault_close(&dirty.userfault);
    dirty.open = false;
}

struct userfault *dirty_userfault(void)
{
    return &dirty.userfault;
}

static uint64_t tracked_pages(size_t page)
{
    const struct chunk *chunk = chunk_of(page);
    uint64_t pages = load_relaxed(&chunk->kind[KIND_MALLOC]);

    return options.barrier_pages ? pages | load_relaxed(&chunk->kind[KIND_GC]) : pages;
}

/* The first page from `page` on that is tracked, or is not; `end` when there is none. */
static size_t next_page(size_t page, size_t end, bool tracked)
{
    while (page < end) {
        uint64_t pages = (tracked ? tracked_pages(page) : ~tracked_pages(page)) >> page % CHUNK_PAGES;

        if (pages != 0)
            return min_size(page + lowest_bit(pages), end);
        page += CHUNK_PAGES - page % CHUNK_PAGES;
    }
    return end;
}

/* The next run from page `from` on; false when there is none. */
static bool next_run(size_t from, struct run *run)
{
    size_t end = load_relaxed(&arena.bytes) >> PAGE_SHIFT;
    size_t low = next_page(from, end, true), next = low, high = low;

    while (next < end && next - high < GAP_PAGES && high - low < PIECE_PAGES) {
        high = next_page(next, end, false);
        next = next_page(high, end, true);
    }
    run->low = low;
    run->high = min_size(high, align_down(low + PIECE_PAGES, HUGE_PAGES));
    return low < end;
}

static uintptr_t page_address(size_t page)
{
    return arena.base + (page << PAGE_SHIFT);
}

/* Between two large calls: lets waiting mmap calls of the program through. */
static void pause_between(size_t *pages, size_t more)
{
    *pages += more;
    if (*pages < PIECE_PAGES)
        return;
    *pages = 0;
    park_for(PIECE_PAUSE_NS);
}

/* Registers [low, high), without old marks, and arms it if need be. */
static bool register_anew(uintptr_t low, uintptr_t high, bool arm)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++)
        if (userfault_register(&dirty.userfault, low, high) == 0 &&
            userfault_disarm(&dirty.userfault, low, high) == 0 &&
            (!arm || pagemap_arm(&dirty.pagemap, low, high) == 0))
            return true;
    dirty_close();              /* then nothing is registered until dirty_open has taken the marks */
    return false;
}

static bool register_heap(void)
{
    size_t end = load_relaxed(&arena.bytes) >> PAGE_SHIFT, pages = 0;

    if (userfault_register(&dirty.userfault, arena.heap.base,
                           arena.heap.base + arena.heap.reserved) != 0)
        return false;
    for (size_t low = 0, high; dirty.armed && low < end; low = high) {
        high = min_size(low + PIECE_PAGES, end);
        if (!register_anew(page_address(low), page_address(high), false))
            return false;
        pause_between(&pages, high - low);
    }
    return true;
}

static bool open_descriptors(void)
{
    if (dirty.open)
        return true;
    if (dirty.ranges == NULL)
        dirty.ranges = meta_alloc(RANGES * sizeof dirty.ranges[0]);
    dirty.open = dirty.ranges != NULL && userfault_open(&dirty.userfault) &&
                 pagemap_open(&dirty.pagemap, false, NULL, 0) && !dirty.pagemap.by_words;
    return dirty.open;
}

bool dirty_open(void)
{
    bool ready = open_descriptors() &&
                 (pagemap_is_registered(&dirty.pagemap, arena.heap.base,
                                        arena.heap.base + arena.heap.reserved) ||
                  register_heap());

    if (!ready)
        dirty_close();
    return ready;
}

bool dirty_arm(void)
{
    struct run run = { 0, 0 };
    size_t pages = 0;

    dirty.armed = true;
    while (next_run(run.high, &run)) {
        uintptr_t low = page_address(run.low), high = page_address(run.high);
        long result = pagemap_arm(&dirty.pagemap, low, high);

        if (result != 0 && (result != -EPERM || !register_anew(low, high, true)))
            return false;
        pause_between(&pages, run.high - run.low);
    }
    return true;
}

static long listed_pages(long from)
{
    long pages = 0;

    for (long i = from; i < dirty.listed; i++)
        pages += (long)((dirty.ranges[i].high - dirty.ranges[i].low) / VM_PAGE);
    return pages;
}

static void rescan_listed(bool running)
{
    for (long i = 0; i < dirty.listed; i++)
        if (options.mutate != 2)
            mark_rescan(dirty.ranges[i].low, dirty.ranges[i].high);
    mark_rescan_end(running);
    dirty.listed = 0;
}

/* All of a run counts as written. */
static long rescan_whole(uintptr_t low, uintptr_t high, bool rearm)
{
    if (rearm && !register_anew(low, high, true))
        return -1;
    mark_rescan(low, high);
    mark_rescan_end(rearm);
    return (long)((high - low) / VM_PAGE);
}

/* What is armed again is rescanned at once, for it is known here only; the rest is listed as long as the
 * list has room. */
static long rescan_run(const struct run *run, bool rearm, long max_pages)
{
    uintptr_t low = page_address(run->low), high = page_address(run->high), next;
    long pages = 0;

    while (low < high && pages <= max_pages) {
        if (rearm || dirty.listed == RANGES)
            rescan_listed(rearm);
        long from = dirty.listed;
        long count = pagemap_written(&dirty.pagemap, low, high, rearm, dirty.ranges + from,
                                     (size_t)(RANGES - from), &next);

        if (count == -EPERM) {
            long whole = rescan_whole(low, high, rearm);
            return whole < 0 ? -1 : pages + whole;
        }
        if (count < 0 || next <= low)
            return -1;
        dirty.listed += count;
        pages += listed_pages(from);
        low = next;
    }
    return pages;
}

long dirty_rescan(bool rearm, long max_pages)
{
    struct run run = { 0, 0 };
    long pages = 0;

    dirty.listed = 0;
    while (pages <= max_pages && next_run(run.high, &run)) {
        long found = rescan_run(&run, rearm, max_pages - pages);

        if (found < 0)
            return -1;
        pages += found;
    }
    if (pages <= max_pages)     /* else it is all done again, and not in this stop */
        rescan_listed(rearm);
    return pages;
}

/* A page that stayed armed would cost the program a fault, 0.65 us, at its next write.  Taking that
 * back costs us 0.1 us a page, so it pays where one page in six is written between two cycles: in
 * nearly every program that allocates.  Where it fails, the program just has its faults. */
void dirty_disarm(void)
{
    struct run run = { 0, 0 };
    size_t pages = 0;

    while (next_run(run.high, &run)) {
        userfault_disarm(&dirty.userfault, page_address(run.low), page_address(run.high));
        pause_between(&pages, run.high - run.low);
    }
}

/* The descriptors of the child's table are not ours, and its memory is not registered and has no
 * marks. */
void dirty_fork_child(void)
{
    dirty.userfault.fd = dirty.pagemap.fd = -1;
    dirty.open = dirty.armed = false;
}
