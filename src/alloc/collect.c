/* collect.c -- see collect.h
 *
 * One collector at a time: a task of ours (world/task.h), or, when the kernel gives
 * us no task, the thread that asked.  It runs cycles until nobody wants another,
 * sweeps what nobody else has swept, and ends: between cycles the program has
 * exactly the threads that it made itself.
 *
 *     idle -- start --> running cycle n -- swept --> idle, finished = n
 *                           ^  somebody asked meanwhile  |
 *                           +----------------------------+
 *
 * Fork.  The collector is inside the runtime gate while it runs a cycle and for
 * each batch of sweeping, so a forked child never sees a half-done cycle; it sees
 * at most spans that wait for their sweep, which refills do lazily.
 */
#include "alloc/collect.h"

#include "base/atomics.h"
#include "base/lock.h"
#include "base/options.h"
#include "base/park.h"
#include "gc/pacer.h"
#include "heap/pages.h"
#include "os/host.h"
#include "watch/gctrace.h"
#include "watch/stats.h"
#include "world/fork.h"
#include "world/task.h"

enum {
    ACCOUNT_BYTES = 64 << 10,   /* what a thread may keep to itself; less under gcstress */
    SWEEP_BATCH = 64,           /* spans swept without looking at the gate */
};

static struct lock cycle_lock = LOCK_INIT(CYCLE);

static struct collector {
    /* Under CYCLE; the numbers are also read without it, atomically. */
    bool ready;                 /* the world can be stopped */
    bool running;
    bool again;                 /* somebody wants a cycle that starts later than the running one */
    bool forced;                /* ... and asked by hand */
    uint32_t suspended;         /* collect_suspend nesting */
    uint32_t started;           /* cycles begun */
    uint32_t finished;          /* cycles whose sweep is over; futex */
    uint32_t last_abandoned;    /* number of the last cycle that was abandoned */

    /* Atomic, relaxed. */
    int64_t live;               /* bytes not free, as told */
    uint64_t allocated;         /* bytes ever, as told */
    uint64_t stress_at;         /* gcstress: allocated at which the next cycle starts */
    uint64_t goal;
    uint32_t enabled;           /* cycles make sense */

    struct pacer pacer;         /* the collector's own, and under CYCLE when it is idle */
} collector = { .goal = UINT64_MAX };

static struct pacer_knobs knobs_now(void)
{
    return (struct pacer_knobs){
        .percent = load_relaxed(&options.gogc),
        .memory_limit = load_relaxed(&options.memory_limit),
        .heap_min = options.heap_min,
        .malloc_collected = options.mode == MODE_COLLECT,
    };
}

uint64_t heap_live_bytes(void)
{
    int64_t live = load_relaxed(&collector.live);

    return live > 0 ? (uint64_t)live : 0;
}

static void publish_goal(uint64_t goal)
{
    store_relaxed(&collector.goal, goal);
    stats_note_goal(goal);
}

/* --- counting ------------------------------------------------------------------ */

static bool goal_reached(void)
{
    if (!load_relaxed(&collector.enabled) || load_relaxed(&collector.running))
        return false;
    if (options.gcstress != 0)
        return load_relaxed(&collector.allocated) >= load_relaxed(&collector.stress_at);
    return heap_live_bytes() >= load_relaxed(&collector.goal);
}

static void tell(struct thread *thread, int64_t live, uint64_t allocated)
{
    fetch_add_relaxed(&collector.live, live);
    fetch_add_relaxed(&collector.allocated, allocated);
    if (UNLIKELY(goal_reached()))
        thread->wants_cycle = true;
}

void collect_account(struct thread *thread)
{
    const struct mcache *cache = &thread->cache;
    int64_t now = (int64_t)(cache->allocated_bytes - cache->freed_bytes);
    int64_t live = now - thread->accounted;
    uint64_t allocated = cache->allocated_bytes - thread->allocation_seen;

    if (live < ACCOUNT_BYTES && live > -ACCOUNT_BYTES && allocated < ACCOUNT_BYTES &&
        options.gcstress == 0)
        return;
    thread->accounted = now;
    thread->allocation_seen = cache->allocated_bytes;
    tell(thread, live, allocated);
}

void collect_account_large(struct thread *thread, int64_t bytes)
{
    struct mcache *cache = &thread->cache;

    if (bytes >= 0) {
        cache->allocated_bytes += (uint64_t)bytes;
        cache->allocated_count++;
    } else {
        cache->freed_bytes += (uint64_t)-bytes;
        cache->freed_count++;
    }
    collect_account(thread);
}

/* --- the collector ----------------------------------------------------------------- */

static unsigned start_helpers(unsigned wanted)
{
    unsigned started = 0;

    while (started < wanted && !options.noworkers && task_spawn(cycle_help_mark, NULL))
        started++;
    return started;
}

static void set_goal(const struct cycle_report *report)
{
    struct pacer_knobs knobs = knobs_now();
    struct pacer_input input = {
        .malloc_live = report->malloc_live,
        .gc_live = report->gc_live,
        .roots = report->stack_bytes + report->root_bytes,
        .malloc_reclaimed = report->malloc_reclaim_bytes,
        .malloc_condemned = report->condemned_bytes,
        .kept = report->heap_live + report->cached_bytes - report->malloc_live - report->gc_live,
        .overhead = meta_bytes(),
    };

    pacer_update(&collector.pacer, &knobs, &input);
    publish_goal(collector.pacer.goal);
}

static void sweep_rest(void)
{
    bool more = true;

    while (more) {
        if (!runtime_enter_task())
            return;             /* refills, or the next cycle, sweep what is left */
        more = sweep_some(SWEEP_BATCH);
        runtime_leave_task();
    }
    while (!sweep_is_done())    /* somebody is sweeping the last ones */
        sys_yield();
}

static void run_cycle(bool forced)
{
    struct cycle_report report = { .goal = load_relaxed(&collector.goal) };

    bool done = runtime_enter_task();

    if (done) {
        done = cycle_run(forced, start_helpers, &report);
        runtime_leave_task();
    } else {
        report.abandoned = "a fork is waiting for a lock of stdio";
    }
    if (done) {
        fetch_sub_relaxed(&collector.live, (int64_t)report.reclaim_bytes);
        set_goal(&report);
    } else {
        store_relaxed(&collector.last_abandoned, load_relaxed(&collector.started));
        /* Not at once again: whoever could not be stopped may still be so. */
        publish_goal(heap_live_bytes() + heap_live_bytes() / 8 + MIB);
    }
    if (options.gctrace)
        gctrace_print(&report);
    stats_note_cycle(&report);
    sweep_rest();
    store_relaxed(&collector.stress_at, load_relaxed(&collector.allocated) +
                                            (uint64_t)options.gcstress * KIB);
}

/* The body of the collector's task. */
static void collector_main(void *unused)
{
    bool again;

    (void)unused;
    do {
        lock_acquire(&cycle_lock);
        bool forced = collector.forced;
        collector.forced = false;
        lock_release(&cycle_lock);

        run_cycle(forced);

        lock_acquire(&cycle_lock);
        store_release(&collector.finished, collector.started);
        again = collector.again && collector.suspended == 0;
        if (again) {
            collector.again = false;
            collector.started++;
        } else {
            store_relaxed(&collector.running, false);
        }
        lock_release(&cycle_lock);
        park_wake_all(&collector.finished);
    } while (again);
}

/* CYCLE held.  Makes somebody run a cycle that starts from now on; *inline_run: it is the caller. */
static bool start_locked(bool forced, bool *inline_run)
{
    *inline_run = false;
    if (!collector.ready || collector.suspended != 0)
        return false;
    collector.forced |= forced;
    if (collector.running) {
        collector.again = true;
        return true;
    }
    collector.started++;
    store_relaxed(&collector.running, true);
    *inline_run = options.noworkers || !task_spawn(collector_main, NULL);
    return true;
}

/* The calling thread is the collector for once.  It counts as parked: its
 * registers and stack are scanned like everybody's.  No handler of the program may run
 * meanwhile: it would allocate inside the collector. */
static void run_inline(void)
{
    struct thread *thread = thread_self;
    struct spilled_registers save;
    uint64_t mask = signals_block_all();

    thread_park(thread, &save);
    collector_main(NULL);
    thread_unpark(thread);
    signals_restore(mask);
}

static void wait_finished(uint32_t number)
{
    struct thread *thread = thread_self;
    struct spilled_registers save;
    uint32_t finished;

    thread_park(thread, &save);
    while ((int32_t)((finished = load_acquire(&collector.finished)) - number) < 0)
        park_wait(&collector.finished, finished, PARK_FOREVER);
    thread_unpark(thread);
}

void collect_start_wanted(void)
{
    bool inline_run = false, started = false;

    thread_self->wants_cycle = false;
    lock_acquire(&cycle_lock);
    if (goal_reached())
        started = start_locked(false, &inline_run);
    uint32_t number = collector.started;
    lock_release(&cycle_lock);
    if (inline_run)
        run_inline();
    else if (started && options.gcstress != 0)
        wait_finished(number);  /* or the program would outrun the collections it asked for */
}

bool collect_now(void)
{
    bool inline_run;

    if (thread_attach() == NULL)
        return false;
    lock_acquire(&cycle_lock);
    uint32_t number = collector.started + 1;
    bool started = start_locked(true, &inline_run);
    lock_release(&cycle_lock);
    if (!started)
        return false;
    if (inline_run)
        run_inline();
    wait_finished(number);
    return load_relaxed(&collector.last_abandoned) != number;
}

bool collect_for_memory(struct thread *thread)
{
    if (!load_relaxed(&collector.enabled) || thread->nesting > 1)
        return false;
    /* One try for each failure, two cycles for malloc blocks: the second finds
     * what the first condemned. */
    runtime_leave(thread);
    bool done = collect_now() && collect_now();

    runtime_enter();
    pages_release_idle(0, SIZE_MAX);
    return done;
}

/* --- knobs, suspension, fork -------------------------------------------------------- */

void collect_enable_gc(void)
{
    if (UNLIKELY(!load_relaxed(&collector.enabled)))
        store_relaxed(&collector.enabled, 1);
}

void collect_knobs_changed(void)
{
    struct pacer_knobs knobs = knobs_now();

    lock_acquire(&cycle_lock);
    if (!collector.running) {
        pacer_retune(&collector.pacer, &knobs);
        publish_goal(collector.pacer.goal);
    }
    lock_release(&cycle_lock);
}

void collect_suspend(void)
{
    lock_acquire(&cycle_lock);
    collector.suspended++;
    bool running = collector.running;
    uint32_t number = collector.started;
    lock_release(&cycle_lock);
    if (running && thread_attach() != NULL)
        wait_finished(number);
    task_wait_all();
}

bool collect_set_ready(bool ready)
{
    lock_acquire(&cycle_lock);
    bool before = collector.ready;

    collector.ready = ready;
    lock_release(&cycle_lock);
    return before;
}

void collect_resume(void)
{
    bool inline_run = false;

    lock_acquire(&cycle_lock);
    collector.suspended--;
    if (collector.suspended == 0 && collector.again && !collector.running) {
        collector.again = false;
        start_locked(false, &inline_run);   /* somebody waits for it */
    }
    lock_release(&cycle_lock);
    if (inline_run)
        run_inline();
}

void collect_fork_child(void)
{
    lock_reset(&cycle_lock);
    collector.running = collector.again = collector.forced = false;
    collector.suspended = 0;
    collector.finished = collector.started;
}

void collect_init(void)
{
    struct pacer_knobs knobs = knobs_now();

    pacer_init(&collector.pacer, &knobs);
    publish_goal(collector.pacer.goal);
    collector.stress_at = (uint64_t)options.gcstress * KIB;
    if (options.mode == MODE_COLLECT)
        collector.enabled = 1;
    collector.ready = true;
}
