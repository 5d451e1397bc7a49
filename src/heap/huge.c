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
 * Large objects are never asked for in huge pages, for nobody knows how much of one will be touched.  But
 * one that is allocated at the same place again and again, with all of its memory there, is worth the
 * change: each time another 2 MiB of it are returned and come back as one page, while nobody has a use for
 * what they hold.
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
    BUFFERS = 8,
    BUFFER_PAGES = 512,         /* 4 MiB have 2 MiB of their own inside */
    BUFFER_USES = 64,           /* 2 MiB cost 0.4 ms and save up to a tenth of a use: 20 to 60 earn it.  So */
    PART_MOST = 4,              /* the change takes as many: who ends sooner has paid little */
};

enum policy { UNTRIED, ASKED_FOR, UNASKED };

/* HEAP. */
static AT_START struct {
    enum policy policy;
    size_t page;                /* of the heap, where the window begins; 0: none */
    bool filled;                /* it is one huge page */
    uint64_t paused_until;      /* ms */
} window;

/* A large object's place, and how often one has lain there since its memory was fresh.  HEAP. */
struct buffer {
    size_t page, pages;
    size_t done;                /* pages below this one have been looked at */
    uint32_t uses;
};

static AT_START struct buffer buffers[BUFFERS];
static AT_START unsigned newest_buffer;

static uintptr_t page_address(size_t page)
{
    return arena.base + (page << PAGE_SHIFT);
}

static bool is_wanted(void)
{
    if (vm_is_confined())
        return false;
    if (options.hugepages == 2)
        return true;
    return options.hugepages == 1 &&
           pages_stats.heap_pages - pages_stats.free_pages >= LEAST_PAGES &&
           pages_now_ms() >= window.paused_until;
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
            window.paused_until = pages_now_ms() + PAUSE_MS;
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

/* The first touch of 2 MiB that hold no memory.  True: they are one page now, and that was cheap. */
static bool fault(size_t page)
{
    uintptr_t at = page_address(page);
    unsigned char resident = 0;
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
        window.paused_until = pages_now_ms() + PAUSE_MS;
    lock_release(&pages_lock);
    return huge && cost <= DEAR_NS;
}

void huge_fault(uintptr_t at)
{
    if (UNLIKELY(at != 0))
        fault(heap_offset(at) >> PAGE_SHIFT);
}

/* --- large objects ------------------------------------------------------------ */

static struct buffer *find_buffer(size_t page, size_t pages)
{
    for (unsigned i = 0; i < BUFFERS; i++)
        if (buffers[i].page == page && buffers[i].pages == pages)
            return &buffers[i];
    return NULL;
}

static struct buffer *make_buffer(size_t page, size_t pages)
{
    struct buffer *buffer = find_buffer(page, pages);

    if (buffer == NULL) {
        buffer = &buffers[newest_buffer++ % BUFFERS];
        *buffer = (struct buffer){ .page = page, .pages = pages };
    }
    return buffer;
}

/* The next 2 MiB, if the buffer has earned them; 0: there are none. */
static size_t next_window(const struct buffer *buffer)
{
    size_t page = align_up(max_size(buffer->done, buffer->page), WINDOW_PAGES);
    size_t earned = buffer->pages * buffer->uses / BUFFER_USES;

    return page + WINDOW_PAGES <= buffer->page + earned ? page : 0;
}

bool huge_reuse_locked(const struct span *span, bool fresh)
{
    if (span->pages < BUFFER_PAGES || window.policy == UNASKED || options.hugepages == 0)
        return false;
    struct buffer *buffer = make_buffer(heap_offset(span->base) >> PAGE_SHIFT, span->pages);

    if (fresh)
        buffer->done = buffer->uses = 0;
    else if (buffer->uses < BUFFER_USES)
        buffer->uses++;
    return next_window(buffer) != 0 && is_wanted();
}

/* The next 2 MiB of the caller's object; 0: none.  *ask: the kernel is to be told. */
static size_t take_window(const struct span *span, bool *ask)
{
    size_t page = 0;

    lock_acquire(&pages_lock);
    struct buffer *buffer = find_buffer(heap_offset(span->base) >> PAGE_SHIFT, span->pages);
    if (buffer != NULL && window.policy != UNASKED && is_wanted())
        page = next_window(buffer);
    if (page != 0)
        buffer->done = page + WINDOW_PAGES;
    *ask = window.policy == ASKED_FOR;
    lock_release(&pages_lock);
    return page;
}

/* All 2 MiB: what was never touched shall not become memory. */
static bool is_resident(size_t page)
{
    unsigned char resident[(WINDOW_PAGES << PAGE_SHIFT) / VM_PAGE];
    size_t i = 0;

    if (!vm_resident((void *)page_address(page), WINDOW_PAGES << PAGE_SHIFT, resident))
        return false;
    while (i < sizeof resident && (resident[i] & 1) != 0)
        i++;
    return i == sizeof resident;
}

/* What is there is lost.  What nobody asked for may come as it likes: fault finds out. */
static bool renew(size_t page, bool ask)
{
    void *at = (void *)page_address(page);
    size_t bytes = WINDOW_PAGES << PAGE_SHIFT;

    if (ask && !vm_ask_huge(at, bytes, true))
        return false;
    bool cheap = vm_release(at, bytes) && fault(page);

    if (ask)
        vm_ask_huge(at, bytes, false);
    return cheap || !ask;
}

void huge_reuse(const struct span *span)
{
    bool ask, going = true;

    for (unsigned i = 0; i < PART_MOST && going; i++) {
        size_t page = take_window(span, &ask);

        going = page != 0;
        if (going && is_resident(page))
            going = renew(page, ask);
    }
}

/* --- the window ---------------------------------------------------------------- */

static bool was_used_since(uint32_t now_ms, uint32_t idle_ms)
{
    CHUNKS_EACH(chunk, mask, window.page, window.page + WINDOW_PAGES)
        if ((chunk->held & mask) != 0 && now_ms - chunk->used_at < idle_ms)
            return true;
    return false;
}

void huge_close_locked(uint64_t idle_ms)
{
    if (window.page != 0 && !was_used_since((uint32_t)pages_now_ms(), (uint32_t)idle_ms))
        close_window();
}
