/* huge.c -- see huge.h
 *
 * When a span of blocks of up to 2 KiB is the first of 2 MiB that hold no memory, and most of the 2 MiB
 * before it are such spans, the kernel is told to use a huge page there, and there only: the rest of the
 * heap is told the opposite.  So nothing is ever filled up behind our back (khugepaged would, after parts
 * of a huge page have been returned), a large block that is touched here and there stays small, and the
 * heap is two mappings more.  Memory that was returned to the OS is fresh again.
 *
 * Whoever took the span touches it, for what that costs tells whether it pays.  Most machines clear a huge
 * page in a quarter of the time of 512 faults; but a virtual machine that reports its free memory to
 * its host, which it does in huge pages, gets each back for 3 ms, while small pages are still there.
 *
 * What the kernel does unasked is found out by the first touch of all, which asks for nothing: if it
 * brings a huge page, they are for everybody here, and we leave it at that.
 */
#include "heap/huge.h"

#include "base/options.h"
#include "heap/pages_release.h"
#include "os/host.h"
#include "os/vm.h"

enum {
    WINDOW_PAGES = 256,         /* 2 MiB */
    DENSE_PAGES = 192,          /* of the 2 MiB before are spans of slots ... */
    DENSE_BYTES = 2048,         /* ... so small that no page between them is left out */
    LEAST_PAGES = 4096,         /* 32 MiB in use: the 2 MiB ahead are 6 % of it at most */
    DEAR_NS = 1000000,          /* 512 small faults take 0.1 to 0.8 ms */
    PAUSE_MS = 10000,
};

enum policy { UNTRIED, ASKED_FOR, UNASKED };

/* HEAP. */
static AT_START struct {
    enum policy policy;
    size_t page;                /* of the heap, where the window begins; 0: none */
    bool filled;                /* it is one huge page */
    uint64_t paused_until;      /* ms */
} window;

static uintptr_t page_address(size_t page)
{
    return arena.base + (page << PAGE_SHIFT);
}

static bool is_wanted(void)
{
    bool wanted = options.hugepages == 2 ||
                  (options.hugepages == 1 &&
                   pages_stats.heap_pages - pages_stats.free_pages >= LEAST_PAGES &&
                   host_clock_coarse_ms() >= window.paused_until);

    return wanted && !vm_is_confined();
}

/* All of the 2 MiB but the span are free and hold no memory; of the span that is known. */
static bool is_fresh(const struct span *span, size_t after, size_t end)
{
    if (!span->zeroed || end << PAGE_SHIFT > arena.heap.ready)
        return false;
    CHUNKS_EACH(chunk, mask, after, end)
        if ((chunk->free & ~chunk->held & mask) != mask)
            return false;
    return true;
}

static bool is_dense(const struct span *span)
{
    return span != NULL && load_relaxed(&span->state) == SPAN_SMALL && span->slot_bytes <= DENSE_BYTES;
}

/* HEAP held: spans in use stay what they are. */
static bool follows_dense(size_t end)
{
    size_t page = end > WINDOW_PAGES ? end - WINDOW_PAGES : 0, dense = 0;

    while (page < end) {
        const struct span *span = span_of(page_address(page));
        size_t next = page + 1;

        if (is_dense(span)) {
            next = min_size((heap_offset(span->base) >> PAGE_SHIFT) + span->pages, end);
            dense += next - page;
        }
        page = next;
    }
    return dense >= DENSE_PAGES;
}

/* What nobody has used of a huge page is memory, too. */
static void hold_rest(void)
{
    CHUNKS_EACH(chunk, mask, window.page, window.page + WINDOW_PAGES) {
        uint64_t rest = chunk->free & ~chunk->held & mask;

        chunk->held |= rest;
        pages_idle += count_bits(rest);
    }
}

static void close_window(void)
{
    if (window.page == 0)
        return;
    if (window.filled)
        hold_rest();
    vm_ask_huge((void *)page_address(window.page), WINDOW_PAGES << PAGE_SHIFT, false);
    window.page = 0;
    window.filled = false;
}

static uintptr_t open_window(size_t page)
{
    close_window();
    if (window.policy == ASKED_FOR) {
        if (!vm_ask_huge((void *)page_address(page), WINDOW_PAGES << PAGE_SHIFT, true)) {
            window.paused_until = host_clock_coarse_ms() + PAUSE_MS;
            return 0;
        }
        window.page = page;
    }
    return page_address(page);
}

uintptr_t huge_follow_locked(const struct span *span)
{
    size_t page = heap_offset(span->base) >> PAGE_SHIFT, after = page + span->pages;
    size_t first = align_up(page, WINDOW_PAGES);

    if (LIKELY(first >= after) || window.policy == UNASKED || !is_dense(span) || !is_wanted() ||
        !is_fresh(span, after, first + WINDOW_PAGES) || !follows_dense(first))
        return 0;
    return open_window(first);
}

/* HEAP held.  The first touch of 2 MiB that we had not asked huge pages for. */
static void tried(size_t page, bool huge)
{
    uintptr_t from = page_address(page);

    window.policy = UNASKED;
    if (!huge && vm_ask_for_huge(from, arena.heap.base + arena.heap.reserved))
        window.policy = ASKED_FOR;
}

void huge_fault(uintptr_t at)
{
    unsigned char resident = 0;
    size_t page = heap_offset(at) >> PAGE_SHIFT;

    if (LIKELY(at == 0))
        return;
    uint64_t before = host_thread_cpu_ns();

    *(volatile char *)at = 0;
    uint64_t cost = host_thread_cpu_ns() - before;
    bool huge = vm_resident((void *)(page_address(page + WINDOW_PAGES) - VM_PAGE), VM_PAGE, &resident) &&
                (resident & 1) != 0;

    lock_acquire(&pages_lock);
    if (window.policy == UNTRIED)
        tried(page, huge);
    else if (window.page == page)
        window.filled = huge;
    if (huge && cost > DEAR_NS)
        window.paused_until = host_clock_coarse_ms() + PAUSE_MS;
    lock_release(&pages_lock);
}

static bool was_used_since(uint32_t now_ms, uint32_t idle_ms)
{
    CHUNKS_EACH(chunk, mask, window.page, window.page + WINDOW_PAGES)
        if ((chunk->held & mask) != 0 && now_ms - chunk->used_at < idle_ms)
            return true;
    return false;
}

void huge_close_locked(uint64_t idle_ms)
{
    if (window.page != 0 && !was_used_since((uint32_t)host_clock_coarse_ms(), (uint32_t)idle_ms))
        close_window();
}
