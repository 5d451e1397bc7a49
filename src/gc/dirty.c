/* dirty.c -- see dirty.h
 *
 * What is tracked changes as spans come and go, so each walk finds its runs anew, in the kind bits
 * of heap/chunk.h: 128 words a GiB, so that stop 2 need not notice how large the heap is.  Small
 * gaps are bridged.
 *
 * The stop asks in the way that the kernel answers soonest (os/pagemap.h), about as much as it can at a
 * time.  That lists the pages that were written (I1), and pages that are not there: of ranges that are
 * longer than a few pages the kernel is asked which those are; and where there are many short ones, in memory
 * of which a page is used here and there, it is asked in the longer way.
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
    LONG_PAGES = HOSTILE(8, 2),             /* pages of a range that are worth asking which are there */
    /* Pages of shorter ones that are looked at without knowing, in a stop and beside the program. */
    DOUBTFUL_STOPPED = HOSTILE(256, 8), DOUBTFUL_RUNNING = HOSTILE(16, 4),
    FEW_IN_PAGES = HOSTILE(256, 1),         /* one of 512 small pages, which a page table has */
    PIECE_PAGES = HOSTILE(2048, 256),   /* 16 MiB a call: other threads' mmap waits for it */
    ANY_PAGES = 1 << 30,
    PIECE_PAUSE_NS = 50000,
    ATTEMPTS = 8,               /* at registering what the program moves meanwhile */
    HUGE_PAGES = 256,           /* 2 MiB: to arm a part of a huge page, the kernel splits it */
};

static struct {
    struct userfault userfault;
    struct pagemap pagemap;
    struct page_range *found;   /* by the kernel; from meta_alloc, as the next */
    struct page_range *ranges;  /* to be looked at again */
    long listed;                /* of them in use */
    long doubtful;              /* pages that this rescan has found, and that may not be there */
    bool open;
    bool few;                   /* pages were written, by the last round */
    bool armed;                 /* something was, once: there may be old marks */
} dirty = { .userfault.fd = -1, .pagemap.fd = -1 };

/* How the kernel is asked.  Where few pages were written it takes longer to arm what it looks at than to ask
 * for what was written, and then to arm that: 0.7 ms a GiB against 0.23, and 1 us a page. */
enum question {
    ARM,                        /* what was written is armed again as it is found */
    ASK_AND_ARM,                /* what is found is armed after that */
    ASK_STOPPED,                /* everything stays as it is */
};

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

/* The next run from page `from` on, of at most so many pages; false when there is none. */
static bool next_run(size_t from, size_t most, struct run *run)
{
    size_t end = load_relaxed(&arena.bytes) >> PAGE_SHIFT;
    size_t low = next_page(from, end, true), next = low, high = low;

    while (next < end && next - high < GAP_PAGES && high - low < most) {
        high = next_page(next, end, false);
        next = next_page(high, end, true);
    }
    run->low = low;
    run->high = min_size(high, align_down(low + most, HUGE_PAGES));
    return low < end;
}

#define PIECE_BYTES ((size_t)PIECE_PAGES << PAGE_SHIFT)

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
    if (dirty.found == NULL)
        dirty.found = meta_alloc(RANGES * sizeof dirty.found[0]);
    if (dirty.ranges == NULL)
        dirty.ranges = meta_alloc(RANGES * sizeof dirty.ranges[0]);
    dirty.open = dirty.found != NULL && dirty.ranges != NULL && userfault_open(&dirty.userfault) &&
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
    dirty.few = false;
    while (next_run(run.high, PIECE_PAGES, &run)) {
        uintptr_t low = page_address(run.low), high = page_address(run.high);
        long result = pagemap_arm(&dirty.pagemap, low, high);

        if (result != 0 && (result != -EPERM || !register_anew(low, high, true)))
            return false;
        pause_between(&pages, run.high - run.low);
    }
    return true;
}

/* Armed first, looked at then. */
static bool arm_again(uintptr_t low, uintptr_t high)
{
    return pagemap_arm(&dirty.pagemap, low, high) == 0 || register_anew(low, high, true);
}

/* False: tracking was lost. */
static bool rescan_listed(enum question question)
{
    for (long i = 0; i < dirty.listed; i++) {
        uintptr_t low = dirty.ranges[i].low, high = dirty.ranges[i].high;

        if (question == ASK_AND_ARM && !arm_again(low, high))
            return false;
        if (options.mutate != 2)
            mark_rescan(low, high);
    }
    mark_rescan_end(question != ASK_STOPPED);
    dirty.listed = 0;
    return true;
}

static long list_whole(uintptr_t low, uintptr_t high, enum question question)
{
    if (dirty.listed == RANGES && !rescan_listed(question))
        return -1;
    dirty.ranges[dirty.listed++] = (struct page_range){ low, high, 0 };
    return (long)((high - low) / VM_PAGE);
}

/* Lists what of [low, high) holds something. */
static long list_held(uintptr_t low, uintptr_t high, enum question question)
{
    uintptr_t next;
    long pages = 0;

    for (; low < high; low = next) {
        if (dirty.listed == RANGES && !rescan_listed(question))
            return -1;
        struct page_range *list = dirty.ranges + dirty.listed;
        long count = pagemap_held(&dirty.pagemap, low, high, list, (size_t)(RANGES - dirty.listed), &next);

        if (count < 0 || next <= low) {
            long whole = list_whole(low, high, question);
            return whole < 0 ? -1 : pages + whole;
        }
        for (long i = 0; i < count; i++)
            pages += (long)((list[i].high - list[i].low) / VM_PAGE);
        dirty.listed += count;
    }
    return pages;
}

static bool is_long(const struct page_range *range)
{
    return range->high - range->low >= LONG_PAGES * VM_PAGE;
}

/* sure: nothing that is not there was found. */
static long list_found(long count, enum question question, bool sure, long max_pages)
{
    long pages = 0;

    for (long i = 0; i < count && pages <= max_pages; i++) {
        uintptr_t low = dirty.found[i].low, high = dirty.found[i].high;
        long listed = sure || !is_long(&dirty.found[i]) ? list_whole(low, high, question)
                                                        : list_held(low, high, question);

        if (listed < 0)
            return -1;
        pages += listed;
    }
    return pages;
}

/* All of [low, high) counts as written. */
static long rescan_whole(uintptr_t low, uintptr_t high, enum question question)
{
    if (question != ASK_STOPPED && !register_anew(low, high, true))
        return -1;
    mark_rescan(low, high);
    mark_rescan_end(question != ASK_STOPPED);
    return (long)((high - low) / VM_PAGE);
}

static bool is_doubtful(long count, enum question question)
{
    long most = question == ASK_STOPPED ? DOUBTFUL_STOPPED : DOUBTFUL_RUNNING;

    for (long i = 0; i < count; i++)
        if (!is_long(&dirty.found[i]))
            dirty.doubtful += (long)((dirty.found[i].high - dirty.found[i].low) / VM_PAGE);
    return count > 0 && dirty.doubtful > most;
}

/* *sure: of what the kernel arms as it finds it, or finds in the longer way, it lists nothing that is not
 * there. */
static long find_written(uintptr_t low, uintptr_t high, enum question question, uintptr_t *next, bool *sure)
{
    *sure = question == ARM || !dirty.pagemap.knows_swapped;
    if (*sure)
        return pagemap_written(&dirty.pagemap, low, high, question == ARM, dirty.found, RANGES, next);
    long count = pagemap_written_or_absent(&dirty.pagemap, low, high, dirty.found, RANGES, next);

    if (LIKELY(!is_doubtful(count, question)))
        return count;
    *sure = true;
    return pagemap_written(&dirty.pagemap, low, *next, false, dirty.found, RANGES, next);
}

/* What is armed again is rescanned at once, for it is known here only.  In the stop the kernel is asked once
 * about all of a run, unless some of it is not registered. */
static long rescan_run(const struct run *run, enum question question, long max_pages)
{
    uintptr_t low = page_address(run->low), high = page_address(run->high), next;
    size_t reach = high - low;
    long pages = 0;

    while (low < high && pages <= max_pages) {
        uintptr_t end = min_size(high, low + reach);
        bool sure;
        long count = find_written(low, end, question, &next, &sure);

        if (count == -EPERM && reach > PIECE_BYTES) {
            reach = PIECE_BYTES;
            continue;
        }
        if (count == -EPERM) {
            count = rescan_whole(low, end, question);
            next = end;
        } else if (count >= 0) {
            count = list_found(count, question, sure, max_pages - pages);
        }
        if (count < 0 || next <= low || (question != ASK_STOPPED && !rescan_listed(question)))
            return -1;
        pages += count;
        low = next;
    }
    return pages;
}

static long rescan_runs(enum question question, long max_pages)
{
    const size_t most = question == ASK_STOPPED ? ANY_PAGES : PIECE_PAGES;
    struct run run = { 0, 0 };
    size_t walked = 0;
    long pages = 0;

    while (pages <= max_pages && next_run(run.high, most, &run)) {
        long found = rescan_run(&run, question, max_pages - pages);

        if (found < 0)
            return -1;
        pages += found;
        walked += run.high - run.low;
    }
    dirty.few = dirty.pagemap.knows_swapped && (size_t)pages < walked / FEW_IN_PAGES;
    return pages;
}

long dirty_rescan(bool rearm, long max_pages)
{
    enum question question = !rearm ? ASK_STOPPED : dirty.few ? ASK_AND_ARM : ARM;

    dirty.listed = dirty.doubtful = 0;
    dirty.armed |= rearm;
    long pages = rescan_runs(question, max_pages);

    if (pages >= 0 && pages <= max_pages)       /* else it is all done again, and not in this stop */
        rescan_listed(question);
    return pages;
}

/* A page that stayed armed would cost the program a fault, 0.65 us, at its next write.  Taking that
 * back costs us 0.1 us a page, so it pays where one page in six is written between two cycles: in
 * nearly every program that allocates.  Where it fails, the program just has its faults. */
void dirty_disarm(void)
{
    struct run run = { 0, 0 };
    size_t pages = 0;

    while (next_run(run.high, PIECE_PAGES, &run)) {
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
