/* pages_release.c -- memory back to the OS; the promises are in pages.h
 *
 * Go's scavenger, in our words.  Idle pages (free, and holding memory) are looked for from the
 * high end of the heap down, for free runs are used from their low ends; 512 KiB of heap share one time of
 * last use, so that pages beside busy ones stay.  A piece of up to 4 MiB is borrowed from its
 * run, returned without HEAP being held (67 us for 1 MiB), and given back to the page heap,
 * which may merge it with whatever has become free around it meanwhile.
 *
 * Three ages:
 *     HOT      more is held than the next goal needs, or there is no goal, or three quarters of it
 *              are idle: what nobody wanted for half a second
 *     SETTLED  else: a heap that stays smaller than its goal (the program freed most of it and
 *              goes on, or sleeps) is not worth holding for ever
 *     LIMIT    more than 95 % of the memory limit: what is not in use at this moment
 * Who is about to take the heap over the limit returns as much himself, whatever its age.
 *
 * Who does it.  A task in the background (alloc/collector.c).  Where there is none it is started when
 * SPAWN_PAGES are idle, so that a program that frees a lot and then sleeps does not sit on it; less
 * than that, or when no task can be had, is returned by slow paths that come by.
 */
#include "heap/pages_release.h"

#include "base/check.h"
#include "base/options.h"
#include "heap/huge.h"
#include "heap/runs.h"
#include "os/host.h"
#include "os/vm.h"

enum {
    HUGE_PAGES = 256,           /* a piece ends where 2 MiB do: the kernel need not split a huge page */
    PIECE_PAGES = 512,          /* 4 MiB: about 270 us */
    STEP_PIECES = 32,           /* in one step, 4 MiB together: some 2 us each if small */
    LOOK_CHUNKS = 8192,         /* 4 GiB of heap looked through at a time: some 20 us under HEAP */
    HOT_MS = 500,
    SETTLED_MS = 10000,
    LIMIT_MS = 125,
    LONGEST_MS = 1000,          /* between two steps: the answer may change meanwhile */
    REFUSED_MS = 60000,         /* the kernel would not (mlockall) */
    WORTH_PAGES = 128,          /* 1 MiB: less idle memory than that is nobody's business */
    SPAWN_PAGES = 512,          /* 4 MiB are worth a task */
    PACE = 99, PACE_COLLAPSED = 9,      /* ms of waiting for a ms of work: 1 %, 10 % */
    CHECK_MS = 50,              /* between two checks from slow paths */
    ABSENT_MS = 2000,           /* the scavenger is that late: slow paths do its work */
};

/* Where the background looks next, and what it found on its way down.  HEAP. */
static struct pass {
    size_t page;                /* below this one; 0: start a new pass */
    uint32_t soonest;           /* ms until the first of what was too young is old enough */
} pass;
/* HEAP.  So many idle pages and the waker is called; SIZE_MAX: the scavenger is at work, or is none. */
static AT_START size_t wake_at = SIZE_MAX;
static AT_START void (*waker)(void);    /* HEAP */
static AT_START uint64_t next_check;    /* ms; atomic, relaxed: not before then do slow paths look */

/* One walk down the heap for idle pages of an age. */
struct search {
    size_t page;                /* below this one */
    size_t chunks;              /* to look at, at most */
    uint32_t now, age;
    uint32_t soonest;
};

struct piece {
    size_t page, pages;
};

enum outcome { RELEASED, REFUSED, NOTHING };

static uint32_t younger_by(const struct search *search, const struct chunk *chunk)
{
    uint32_t age = search->now - chunk->used_at;

    if (age > UINT32_MAX - LONGEST_MS)
        age = 0;                /* used after `now` was read */
    return age >= search->age ? 0 : search->age - age;
}

/* From an idle page down: the piece of its run that is old enough and ends with an idle page. */
static struct piece piece_below(const struct search *search, size_t top, size_t most)
{
    size_t low = top, page = top;

    for (size_t looked = 0; looked < most; looked++, page--) {
        const struct chunk *chunk = chunk_of(page);
        uint64_t bit = 1ull << page % CHUNK_PAGES;

        if ((chunk->free & bit) == 0 || younger_by(search, chunk) != 0)
            break;
        if (chunk->held & bit)
            low = page;
        if (page == 0 || (page % HUGE_PAGES == 0 && looked + HUGE_PAGES >= most))
            break;
    }
    return (struct piece){ .page = low, .pages = top + 1 - low };
}

/* HEAP held.  False: looked as far as allowed, or to the end (search->page is 0). */
static bool find_piece(struct search *search, size_t most, struct piece *piece)
{
    while (search->page > 0 && search->chunks > 0) {
        size_t start = align_down(search->page - 1, CHUNK_PAGES);
        const struct chunk *chunk = chunk_of(start);
        uint64_t below = ~0ull >> (63 - (search->page - 1 - start));
        uint64_t idle = chunk->held & chunk->free & below;
        uint32_t early = idle != 0 ? younger_by(search, chunk) : 0;

        if (idle != 0 && early == 0) {
            *piece = piece_below(search, start + log2_floor(idle), most);
            search->page = piece->page;
            return true;
        }
        if (early != 0 && early < search->soonest)
            search->soonest = early;
        search->page = start;
        search->chunks--;
    }
    return false;
}

/* HEAP held; let go of meanwhile.  *released: pages that held memory. */
static enum outcome release_piece(const struct search *search, struct piece piece, size_t *released)
{
    struct span *borrowed = runs_borrow(piece.page, piece.pages);

    if (borrowed == NULL)
        return REFUSED;
    store_relaxed(&pages_copy_most, 0);
    lock_release(&pages_lock);
    bool done = vm_release((void *)borrowed->base, piece.pages << PAGE_SHIFT);

    lock_acquire(&pages_lock);
    *released = done ? chunks_held(piece.page, piece.pages) : 0;
    if (done)
        chunks_set_held(piece.page, piece.pages, false);
    else
        chunks_stamp(piece.page, piece.pages, search->now);
    runs_give_back(borrowed);
    return done ? RELEASED : REFUSED;
}

/* HEAP held; let go of meanwhile. */
static enum outcome release_next(struct search *search, size_t most, size_t *released)
{
    struct piece piece;

    *released = 0;
    if (!find_piece(search, min_size(most, PIECE_PAGES), &piece))
        return NOTHING;
    return release_piece(search, piece, released);
}

static size_t heap_end(void)
{
    return arena.heap.ready >> PAGE_SHIFT;
}

/* --- when asked ---------------------------------------------------------------------------- */

static size_t release_down(uint64_t age, size_t most, uint64_t *count)
{
    size_t released, total = 0;

    lock_acquire(&pages_lock);
    pages_file_kept_locked();
    huge_close_locked(age);
    struct search search = { .page = heap_end(), .chunks = SIZE_MAX, .age = (uint32_t)age,
                             .now = (uint32_t)host_clock_coarse_ms() };

    while (total < most && release_next(&search, most - total, &released) == RELEASED)
        total += released;
    *count += total << PAGE_SHIFT;
    lock_release(&pages_lock);
    return total;
}

size_t pages_release_idle(uint64_t idle_ms, size_t max_pages)
{
    return release_down(idle_ms, max_pages, &pages_stats.demand_bytes);
}

/* Pages that may hold memory. */
static size_t held_locked(void)
{
    return pages_stats.heap_pages - pages_stats.lost_pages - pages_stats.free_pages + pages_idle;
}

/* By how many pages we hold more than `share` percent of the memory limit; pages and metadata, as
 * the pacer counts. */
static size_t over_limit(unsigned share)
{
    int64_t limit = load_relaxed(&options.memory_limit);

    if (limit == INT64_MAX)
        return 0;
    uint64_t held = ((uint64_t)held_locked() << PAGE_SHIFT) + meta_bytes();
    uint64_t most = (uint64_t)limit / 100 * share;

    return held > most ? (held - most + PAGE_BYTES - 1) >> PAGE_SHIFT : 0;
}

size_t pages_over_limit_locked(void)
{
    ASSERT(lock_is_held(&pages_lock));
    size_t idle = pages_idle + pages_kept;

    return idle == 0 ? 0 : min_size(over_limit(100), idle);
}

void pages_release_over_limit(size_t pages)
{
    if (UNLIKELY(pages != 0))
        release_down(0, pages, &pages_stats.demand_bytes);
}

/* --- in the background ------------------------------------------------------------------- */

uint64_t pages_retain_bytes(uint64_t in_use_bytes, uint64_t goal, uint64_t last_goal)
{
    if (last_goal == 0 || last_goal == UINT64_MAX || goal == UINT64_MAX)
        return UINT64_MAX;
    unsigned __int128 scaled = (unsigned __int128)in_use_bytes * goal / last_goal * 110 / 100;

    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

/* The program has freed most of what it had: that is over, whatever the goal. */
static bool has_collapsed_locked(void)
{
    return pages_idle > held_locked() / 4 * 3;
}

/* The age that idle pages may be returned at, and how many of them at once. */
static uint32_t age_wanted(uint64_t retain_bytes, size_t *most)
{
    size_t over = over_limit(95);
    uint64_t held = (uint64_t)held_locked() << PAGE_SHIFT;

    *most = PIECE_PAGES;
    if (over != 0) {
        *most = min_size(over, PIECE_PAGES);
        return LIMIT_MS;
    }
    if (has_collapsed_locked())
        return HOT_MS;
    if (held <= retain_bytes)
        return SETTLED_MS;
    *most = min_size(((held - retain_bytes) >> PAGE_SHIFT) + 1, PIECE_PAGES);
    return HOT_MS;
}

/* HEAP held, and let go of at times.  One step of the pass from high to low.  Returns how long to
 * wait for the next, apart from the pace. */
static uint64_t step_locked(uint64_t now_ms, uint64_t retain_bytes)
{
    size_t most, released;
    struct search search = {
        .page = pass.page != 0 ? min_size(pass.page, heap_end()) : heap_end(),
        .chunks = LOOK_CHUNKS,
        .now = (uint32_t)now_ms,
        .age = age_wanted(retain_bytes, &most),
        .soonest = pass.page != 0 ? pass.soonest : LONGEST_MS,
    };
    enum outcome outcome = RELEASED;

    for (int i = 0; i < STEP_PIECES && most > 0 && outcome == RELEASED; i++) {
        outcome = release_next(&search, most, &released);
        most -= min_size(released, most);
        pages_stats.background_bytes += released << PAGE_SHIFT;
    }
    pass = (struct pass){ .page = search.page, .soonest = search.soonest };
    return outcome == REFUSED ? REFUSED_MS : search.page == 0 ? search.soonest : 0;
}

uint64_t pages_scavenge(uint64_t now_ms, uint64_t retain_bytes)
{
    uint64_t before = host_thread_cpu_ns(), wait_ms;

    lock_acquire(&pages_lock);
    pages_file_kept_locked();
    huge_close_locked(HOT_MS);
    uint64_t pace = has_collapsed_locked() ? PACE_COLLAPSED : PACE;

    wake_at = pages_idle < WORTH_PAGES && waker != NULL ? WORTH_PAGES : SIZE_MAX;
    if (pages_idle < WORTH_PAGES)
        wait_ms = waker != NULL ? UINT64_MAX : LONGEST_MS;
    else
        wait_ms = step_locked(now_ms, retain_bytes);
    lock_release(&pages_lock);
    uint64_t pace_ms = (host_thread_cpu_ns() - before) * pace / 1000000 + 1;

    if (wait_ms < pace_ms)
        wait_ms = pace_ms;
    store_relaxed(&next_check, wait_ms == UINT64_MAX ? UINT64_MAX : now_ms + wait_ms + ABSENT_MS);
    return wait_ms;
}

void pages_set_scavenger(void (*wake)(void))
{
    lock_acquire(&pages_lock);
    waker = wake;
    lock_release(&pages_lock);
    pages_scavenger_left();
}

void pages_scavenger_left(void)
{
    lock_acquire(&pages_lock);
    wake_at = waker != NULL ? SPAWN_PAGES : SIZE_MAX;
    store_relaxed(&next_check, 0);
    lock_release(&pages_lock);
}

void (*pages_waker_locked(void))(void)
{
    ASSERT(lock_is_held(&pages_lock));
    if (LIKELY(pages_idle + pages_kept < wake_at))
        return NULL;
    wake_at = SIZE_MAX;
    store_relaxed(&next_check, host_clock_coarse_ms() + ABSENT_MS);
    return waker;
}

void pages_idle_check(void)
{
    uint64_t now = host_clock_coarse_ms();
    uint64_t due = load_relaxed(&next_check);

    if (now < due || !cas_acq_rel(&next_check, &due, now + CHECK_MS))
        return;
    lock_acquire(&pages_lock);
    pages_file_kept_locked();
    huge_close_locked(HOT_MS);
    if (pages_idle >= WORTH_PAGES)
        step_locked(now, 0);
    lock_release(&pages_lock);
}

/* The scavenger is not in the child. */
void pages_release_fork_child(void)
{
    wake_at = waker != NULL ? SPAWN_PAGES : SIZE_MAX;
    store_relaxed(&next_check, 0);
}
