/* collector.c -- see collect.h: the collector's task
 *
 * One collector at a time: a task of ours (world/task.h), or, when the kernel gives us no task,
 * the thread that asked.  It runs cycles until nobody wants another and sweeps what nobody
 * else has swept.
 *
 *     idle -- start --> running cycle n -- swept --> idle, finished = n
 *                           ^  somebody asked meanwhile  |
 *                           +----------------------------+
 *
 * The task stays for a minute after the last cycle, parked: the descriptors of dirty tracking are
 * in its private table, and closing them costs 8 ms a GiB.  While it is there it returns idle
 * memory to the OS.  It blocks all signals, libc does not know it, and it holds nothing
 * open that the program opened.  Where a second thread would be noticed (unshare, setns, setuid)
 * it is ended first: collect_suspend.
 *
 * A program that never collects has it only after it freed some MiB that it does not use
 * again: the task returns them and ends two seconds later.  It has no descriptors then, neither of its
 * own nor of the program.
 *
 * Fork.  The collector is inside the runtime gate for each stop and each batch of sweeping.  The child
 * of a fork while it marks has marks that mean nothing, and forgets them before its first cycle.
 */
#include "alloc/collect.h"

#include "base/atomics.h"
#include "base/lock.h"
#include "base/options.h"
#include "base/park.h"
#include "heap/pages.h"
#include "os/descriptors.h"
#include "os/host.h"
#include "os/vm.h"
#include "watch/gctrace.h"
#include "watch/stats.h"
#include "world/task.h"

enum {
    SWEEP_BATCH = 64,           /* spans swept without looking at the gate */
    LINGER_MS = 60000,
    LINGER_SCAVENGER_MS = 2000, /* of a task that has run no cycle, once no idle memory is left */
};

static AT_START struct lock cycle_lock = LOCK_INIT(CYCLE);

static AT_START ALIGNED(CACHE_LINE) struct {
    /* Under CYCLE; the numbers are also read without it, atomically. */
    bool ready;                 /* the world can be stopped */
    bool running;
    bool again;                 /* somebody wants a cycle that starts later than the running one */
    bool forced;                /* ... and asked by hand */
    bool present;               /* the collector's task is there, and will look at `work` */
    bool wake;                  /* ... and is to be woken when CYCLE is released, which it needs at once */
    uint32_t suspended;         /* collect_suspend nesting */
    uint32_t started;           /* cycles begun */
    uint32_t finished;          /* cycles whose sweep is over; futex */
    uint32_t last_abandoned;    /* number of the last cycle that was abandoned */
    int process;                /* whose task `present` is: the child of a vfork or a raw clone has none */
    bool forbidden;             /* before collect_init: no cycle may ever start */
    uint32_t childless;         /* atomic: none in forked children */
    uint32_t work;              /* atomic, futex: changes when the parked task should look */
    uint32_t seen;              /* the task's: the last `work` it has looked at */
    uint32_t idle_memory;       /* atomic: there is some, and nobody to return it */
} collector;

/* CYCLE.  Signals are blocked: a handler of the program may ask for a cycle too. */
static uint64_t lock_cycle(void)
{
    uint64_t mask = signals_block_all();

    lock_acquire(&cycle_lock);
    return mask;
}

static void unlock_cycle(uint64_t mask)
{
    bool wake = collector.wake;

    collector.wake = false;
    lock_release(&cycle_lock);
    if (wake)
        park_wake(&collector.work, 1);
    signals_restore(mask);
}

bool collect_is_running(void)
{
    return load_relaxed(&collector.running);
}

/* --- a cycle ------------------------------------------------------------------------- */

static unsigned start_helpers(unsigned wanted)
{
    unsigned started = 0;

    while (started < wanted && !options.noworkers && task_spawn(cycle_help_mark, NULL))
        started++;
    return started;
}

static void finish(void)
{
    store_release(&collector.finished, load_relaxed(&collector.started));
    park_wake_all(&collector.finished);
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
    for (unsigned looks = 0; !sweep_is_done(); looks++)     /* somebody is sweeping the last ones */
        park_between_looks(looks);
}

/* Whoever waits for a cycle may hold the lock that the fork waits for that keeps the cycle
 * from its stop. */
static void cycle_is_late(void)
{
    lock_acquire(&cycle_lock);
    if (collector.again) {      /* so may whoever waits for the next one */
        collector.again = false;
        collector.started++;
    }
    store_relaxed(&collector.last_abandoned, collector.started);
    lock_release(&cycle_lock);
    collect_cycle_late();
    finish();
}

/* Threads that ended without saying so: their caches belong to the heap again. */
static void bury_dead(void)
{
    if (!runtime_enter_task())
        return;
    thread_reap_dead();
    runtime_leave_task();
}

static void run_cycle(bool forced, bool own_task)
{
    static const struct cycle_hooks hooks = {
        .help = start_helpers, .live_bytes = collect_live_bytes,
        .gc_live_bytes = collect_gc_live_bytes, .late = cycle_is_late,
    };
    struct cycle_report report = { .goal = 0 };

    fetch_or_seq_cst(&heap_shared, SHARED_BY_CYCLE);    /* Note [ALONE] */
    collect_cycle_begins(&report);
    bool done = cycle_run(forced, own_task, &hooks, &report);

    if (!done) {
        store_relaxed(&collector.last_abandoned, load_relaxed(&collector.started));
        collect_cycle_abandoned();
    }
    if (options.gctrace)
        gctrace_print(&report);
    if (done)
        collect_cycle_marked(&report);
    bury_dead();
    sweep_rest();
    if (sweep_is_done())
        fetch_and_acq_rel(&heap_shared, ~(uint32_t)SHARED_BY_CYCLE);
    if (done)
        collect_cycle_swept(&report);
    stats_note_cycle(&report);
}

/* Until nobody wants another. */
static void run_cycles(bool own_task)
{
    bool again;

    do {
        lock_acquire(&cycle_lock);
        bool forced = collector.forced;
        collector.forced = false;
        lock_release(&cycle_lock);

        run_cycle(forced, own_task);

        lock_acquire(&cycle_lock);
        again = collector.again && collector.suspended == 0;
        store_release(&collector.finished, collector.started);
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

/* --- the task ---------------------------------------------------------------------------- */

/* Returns idle memory; how many ms there is nothing to do now. */
static uint64_t scavenge(uint64_t retain_bytes)
{
    if (!runtime_enter_task())
        return 100;
    uint64_t wait_ms = pages_scavenge(host_clock_coarse_ms(), retain_bytes);

    runtime_leave_task();
    return wait_ms;
}

static uint64_t now_ms(void)
{
    return host_clock_ns() / 1000000;
}

static uint32_t look_at_work(void)
{
    return collector.seen = load_acquire(&collector.work);
}

/* Parks until there is a cycle to run; false: the task should end. */
static bool await_cycle(void)
{
    uint64_t idle_since_ms = now_ms();

    for (;;) {
        uint32_t work = look_at_work();

        if (load_relaxed(&collector.running))
            return true;
        if (load_relaxed(&collector.suspended) != 0 || now_ms() - idle_since_ms >= LINGER_MS)
            return false;
        uint64_t wait_ms = min_size(scavenge(collect_retain_bytes()), LINGER_MS);

        park_wait(&collector.work, work, wait_ms * 1000000);
    }
}

/* The same before the first cycle: the task is there for idle memory alone. */
static bool await_first_cycle(void)
{
    uint64_t busy_ms = now_ms();

    for (;;) {
        uint32_t work = look_at_work();

        if (load_relaxed(&collector.running))
            return true;
        if (load_relaxed(&collector.suspended) != 0 || now_ms() - busy_ms >= LINGER_SCAVENGER_MS)
            return false;
        uint64_t wait_ms = scavenge(0);

        if (wait_ms <= LINGER_SCAVENGER_MS)
            busy_ms = now_ms();         /* else there is nothing left, or the kernel takes nothing */
        park_wait(&collector.work, work, min_size(wait_ms, LINGER_SCAVENGER_MS) * 1000000);
    }
}

/* False: there is something to do after all. */
static bool leave(bool cycled)
{
    if (cycled)
        cycle_close();
    lock_acquire(&cycle_lock);
    bool gone = !collector.running && load_acquire(&collector.work) == collector.seen;

    if (gone)
        collector.present = false;
    lock_release(&cycle_lock);
    if (gone && runtime_enter_task()) {
        pages_scavenger_left();
        runtime_leave_task();
    }
    return gone;
}

static void collector_task(void *unused)
{
    (void)unused;
    while (!await_first_cycle())
        if (leave(false))
            return;
    bool own_descriptors = descriptors_unshare();

    host_open_keys();
    for (;;) {
        run_cycles(own_descriptors);
        while (!await_cycle())
            if (leave(true))
                return;
    }
}

static void wake_task(void)
{
    fetch_add_acq_rel(&collector.work, 1);
    park_wake(&collector.work, 1);
}

/* From slow paths, in the runtime: pages.h.  A task is started once it is left. */
static void wake_scavenger(void)
{
    if (load_relaxed(&collector.present)) {
        wake_task();
        return;
    }
    store_relaxed(&collector.idle_memory, 1);
    if (thread_self != &thread_none)    /* which attaches, and buries the dead */
        thread_self->wants_cycle = true;
}

/* CYCLE held. */
static bool may_start_locked(void)
{
    return collector.ready && collector.suspended == 0 && sys_getpid() == collector.process &&
           !vm_is_confined();
}

/* CYCLE held. */
static void spawn_locked(void)
{
    collector.present = !options.noworkers && task_spawn(collector_task, NULL);
}

/* CYCLE held.  A task for idle memory, unless there is one. */
static void start_scavenger_locked(void)
{
    if (load_relaxed(&collector.idle_memory) == 0)
        return;
    store_relaxed(&collector.idle_memory, 0);
    if (may_start_locked() && !collector.present && !collector.running)
        spawn_locked();
}

/* CYCLE held.  Makes somebody run a cycle that starts from now on; *inline_run: it is the caller. */
static bool start_locked(bool forced, bool *inline_run)
{
    *inline_run = false;
    if (!may_start_locked())
        return false;
    collector.forced |= forced;
    if (collector.running) {
        collector.again = true;
        return true;
    }
    collector.started++;
    store_relaxed(&collector.running, true);
    if (collector.present) {
        fetch_add_acq_rel(&collector.work, 1);
        collector.wake = true;
    } else {
        spawn_locked();
    }
    *inline_run = !collector.present;
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
    run_cycles(false);
    thread_unpark(thread);
    signals_restore(mask);
}

void collect_wait_cycle(uint64_t ns)
{
    if (load_relaxed(&collector.running))
        park_wait(&collector.finished, load_acquire(&collector.finished), ns);
}

/* --- asking for cycles ------------------------------------------------------------------- */

/* Without memory for its structure the thread cannot park: a stop signals it, as any thread that never
 * allocated. */
static void wait_finished(uint32_t number)
{
    struct thread *thread = thread_attach();
    struct spilled_registers save;
    uint32_t finished;

    if (thread != NULL)
        thread_park(thread, &save);
    while ((int32_t)((finished = load_acquire(&collector.finished)) - number) < 0)
        park_wait(&collector.finished, finished, PARK_FOREVER);
    if (thread != NULL)
        thread_unpark(thread);
}

void collect_start_wanted(void)
{
    bool inline_run = false, started = false;

    if (thread_self->in_runtime != 0)
        return;                 /* in a handler that interrupted a slow path: when that ends */
    thread_self->wants_cycle = false;
    uint64_t mask = lock_cycle();
    if (collect_goal_reached())
        started = start_locked(false, &inline_run);
    start_scavenger_locked();
    uint32_t number = collector.started;
    unlock_cycle(mask);
    if (inline_run)
        run_inline();
    else if (started && options.gcstress != 0)
        wait_finished(number);  /* or the program would outrun the collections it asked for */
}

/* A handler that interrupted a slow path cannot wait: the cycle may, for what the thread holds. */
bool collect_now(void)
{
    const struct thread *thread = thread_attach();
    bool inline_run;

    if (thread == NULL || thread->in_runtime != 0)
        return false;
    uint64_t mask = lock_cycle();
    uint32_t number = collector.started + 1;
    bool started = start_locked(true, &inline_run);
    unlock_cycle(mask);
    if (!started)
        return false;
    if (inline_run)
        run_inline();
    wait_finished(number);
    return (int32_t)(load_relaxed(&collector.last_abandoned) - number) < 0;
}

bool collect_for_memory(struct thread *thread)
{
    if (!collect_is_enabled() || thread->in_runtime > 1)
        return false;
    /* One try for each failure, two cycles for malloc blocks: the second finds
     * what the first condemned. */
    runtime_leave(thread);
    bool done = collect_now() && collect_now();

    runtime_enter();
    pages_release_idle(0, SIZE_MAX);
    return done;
}

/* --- suspension, fork, start -------------------------------------------------------------- */

void collect_suspend(void)
{
    uint64_t mask = lock_cycle();
    store_relaxed(&collector.suspended, collector.suspended + 1);
    bool running = collector.running;
    uint32_t number = collector.started;
    unlock_cycle(mask);
    wake_task();
    if (running)
        wait_finished(number);
    task_wait_all();
}

bool collect_set_ready(bool ready)
{
    uint64_t mask = lock_cycle();
    bool before = collector.ready;

    if (collector.process == 0)
        collector.forbidden = !ready;
    else if (sys_getpid() == collector.process)     /* not in the child of a vfork */
        collector.ready = ready;
    unlock_cycle(mask);
    return before;
}

void collect_resume(void)
{
    bool inline_run = false, attached = thread_attach() != NULL;

    uint64_t mask = lock_cycle();
    store_relaxed(&collector.suspended, collector.suspended - 1);
    if (collector.suspended == 0 && collector.again && !collector.running) {
        collector.again = false;
        if (!attached || !start_locked(false, &inline_run)) {       /* somebody waits for it */
            collector.started++;
            store_relaxed(&collector.last_abandoned, collector.started);
            finish();
        }
    }
    unlock_cycle(mask);
    if (inline_run)
        run_inline();
}

void collect_spare_children(void)
{
    store_relaxed(&collector.childless, 1);
}

void collect_avoid_userfaultfd(void)
{
    collect_suspend();
    cycle_avoid_userfault();
    collect_resume();
}

void collect_fork_child(void)
{
    lock_reset(&cycle_lock);
    collector.running = collector.again = collector.forced = collector.present = false;
    collector.wake = false;
    collector.suspended = 0;
    collector.process = sys_getpid();
    collector.ready = collector.ready && load_relaxed(&collector.childless) == 0;
    collector.finished = collector.started;
    fetch_and_acq_rel(&heap_shared, ~(uint32_t)SHARED_BY_CYCLE);        /* the sweep's tasks are gone */
    collect_policy_fork_child();
}

void collect_init(void)
{
    collect_policy_init();
    pages_set_scavenger(wake_scavenger);
    collector.process = sys_getpid();
    collector.ready = !collector.forbidden;
}
