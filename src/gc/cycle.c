/* cycle.c -- see cycle.h
 *
 *   1  sweep what is left of the last cycle; prepare memory and helpers; arm dirty tracking
 *   2  stop 1: mark what is in the magazines; from now on what refills take is marked, and the
 *      barrier records; scan stacks and registers
 *   3  beside the program: the other roots, and all that is reached; then pre-cleaning:
 *      what was written meanwhile is scanned again
 *   4  mode collect: keep what unreachable malloc blocks reach (keep.h); then pre-cleaning in
 *      rounds, until little is left
 *   5  stop 2: stacks, registers, small roots, what the barrier recorded, the pages still dirty.
 *      If that leads to more than a little work the world is started again, the work
 *      done, and the stop tried again; the last time it does it all
 *   6  every span now needs sweeping; start the world; disarm dirty tracking
 *
 * Why nothing is lost.  At the end of stop 2 every root has been scanned as it is in the stop.  An
 * object that was marked by tracing has been scanned since, and whatever was stored into it later is
 * on a page that counted as written in the stop, or went through the barrier.  An object
 * that was allocated black never was scanned, but all that was stored into it was stored later than
 * stop 1.  So every object that a marked object names is marked, and every root names marked
 * objects only.
 *
 * With METHOD_STOPPED steps 3 to 5 happen in stop 1, and there is no stop 2.
 *
 * As long as no cycle has swept, one that has reached next to everything in step 3 ends there: the
 * program frees what it allocates, and what is left to do costs more than what was done.  Nothing
 * is freed, so nothing can be lost; the marks are forgotten as if the cycle had been abandoned.
 * After a sweep there may be condemned blocks, and those that were reached must be told so, or
 * two cycles that miss them would not be two in a row.  A cycle that may end so arms nothing before
 * step 3, for the program would have a fault at each page that it writes to: what was never armed counts
 * as written, so if it goes on, pre-cleaning looks again at all there is.
 *
 * A cycle that cannot be sound is abandoned: in a stop, or where some thread does not stop while none is in a
 * slow path, the phase goes back to GC_OFF, so that no slow path marks any more; then the marks are cleared;
 * nothing else has been changed.
 */
#include "gc/cycle.h"

#include <limits.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/options.h"
#include "base/park.h"
#include "base/sys.h"
#include "gc/barrier.h"
#include "gc/checkmark.h"
#include "gc/dirty.h"
#include "gc/distance.h"
#include "gc/mark.h"
#include "gc/pacer.h"
#include "gc/snapshot.h"
#include "gc/verify.h"
#include "heap/arena.h"
#include "heap/ceded.h"
#include "os/host.h"
#include "world/roots.h"
#include "world/stop.h"

enum {
    SWEEP_BATCH = 64,           /* spans swept without looking at the gate */
    ROUNDS = HOSTILE(8, 1),     /* of pre-cleaning */
    FEW_PAGES = HOSTILE(128, 1 << 20),            /* so few dirty pages are left to the stop */
    ATTEMPTS = HOSTILE(5, 8),   /* at stop 2; the last one does it all */
    PRESSURE_LEAST_NS = 250000, PRESSURE_MOST_NS = 4000000,
    /* Budget of the first attempt, doubled for each further one.  In a large heap less is left of it: the
     * kernel's walk over its page tables takes 0.4 ms a GiB, a page 2 us. */
    STOP_PAGES = HOSTILE(512, 1), STOP_PAGES_LARGE = HOSTILE(256, 1),
};

_Static_assert(ATTEMPTS + 2 <= CYCLE_STOPS, "stop 1, all attempts at stop 2, and one to forget the marks");

static const size_t LARGE_HEAP = GIB;
static const uint64_t STOP_BYTES = HOSTILE(512 * KIB, 256);
static const uint64_t RETRY_NS = 10000000;

AT_START uint32_t gc_phase;
AT_START uint32_t cycle_pressure_ns;

/* The owner is whoever runs cycles. */
static struct {
    uint64_t number;            /* cycles that were not abandoned */
    bool marks_stale;           /* marks that mean nothing are still there */
    bool swept;                 /* some cycle has come to its sweep: blocks may be condemned */
    bool failed;                /* some cycle was abandoned */
    bool brief;                 /* the running one may end after the first look, see above */
    uint32_t avoid_userfault;   /* atomic: the program wants it for itself */
    unsigned helpers;           /* of the running cycle */
} cycles;

/* --- before ---------------------------------------------------------------------- */

/* False: a fork keeps the gate closed. */
static bool finish_last_sweep(void)
{
    unsigned looks = 0;

    while (!sweep_is_done()) {
        if (!runtime_enter_task())
            return false;
        bool more = sweep_some(SWEEP_BATCH);

        runtime_leave_task();
        if (!more)
            park_between_looks(looks++);        /* somebody is sweeping the last ones */
    }
    return true;
}

/* How many workers may mark at once, while the world is stopped. */
static unsigned most_workers(void)
{
    return options.workers != 0 ? (unsigned)options.workers : host_cpus();
}

static unsigned most_helpers(void)
{
    return options.noworkers ? 0 : (unsigned)min_size(most_workers(), MARK_WORKERS) - 1;
}

/* Those who would only wait for a stop 2 that has too much to do are not started before there
 * was one: starting a task costs as much as a short stop. */
static unsigned helpers_wanted(enum cycle_method method)
{
    switch (method) {
    case METHOD_USERFAULT:
        return (unsigned)min_size(most_helpers(), pacer_workers(most_workers()) - 1);
    case METHOD_SNAPSHOT: return 0;     /* a copy has one task */
    default: return most_helpers();
    }
}

static void start_helpers(const struct cycle_hooks *hooks, unsigned helpers)
{
    if (helpers > cycles.helpers)
        cycles.helpers += hooks->help(helpers - cycles.helpers);
}

static unsigned all_workers(void)
{
    return cycles.helpers + 1;
}

static bool prepare(struct cycle_report *report)
{
    bool swept = finish_last_sweep();

    if (swept && cycles.marks_stale) {
        mark_clear();
        cycles.marks_stale = false;
    }
    if (!swept || !runtime_enter_task()) {
        report->abandoned = "a fork is waiting for a lock of stdio";
        return false;
    }
    bool ready = roots_gather() && mark_prepare();

    if (ready && options.gccheckmark)
        checkmark_prepare();    /* without memory it will say that it did not check */

    runtime_leave_task();
    if (!ready)
        report->abandoned = "no memory to mark with";
    return ready;
}

static bool can_userfault(void)
{
    return options.mark <= 1 && !load_relaxed(&cycles.avoid_userfault) && dirty_open();
}

/* Not one that was asked for.  And where tracking has failed it is seen early whether it works. */
static bool may_be_brief(const struct cycle_hooks *hooks, const struct cycle_report *report)
{
    bool wanted = report->forced || options.gcstress != 0 || options.memory_limit != INT64_MAX;

    return !wanted && !cycles.swept && !cycles.failed && options.mode == MODE_COLLECT &&
           hooks->gc_live_bytes() == 0;
}

static enum cycle_method choose_method(bool own_task)
{
    if (!own_task || options.mark == 3)
        return METHOD_STOPPED;
    if (can_userfault() && (cycles.brief || dirty_arm()))
        return METHOD_USERFAULT;
    return snapshot_prepare() ? METHOD_SNAPSHOT : METHOD_STOPPED;
}

/* --- stops -------------------------------------------------------------------------- */

struct stop_clock {
    uint64_t signal_ns, stopped_ns;
};

/* MODE=hostile: the program gets on meanwhile. */
static void dawdle(void)
{
    static uint32_t count;

    if (HOSTILE(false, true))
        park_for(20000 * (1 + count++ % 16));
}

/* A fork may keep the gate closed until we give up. */
static bool stop(struct stop_clock *clock, const char **why)
{
    dawdle();
    if (!runtime_enter_task()) {
        *why = "a fork is waiting for a lock of stdio";
        return false;
    }
    clock->signal_ns = host_clock_ns();
    if (world_stop(why)) {
        clock->stopped_ns = host_clock_ns();
        return true;
    }
    if (*why == NULL)
        *why = "the world could not be stopped";
    runtime_leave_task();
    return false;
}

/* The stop in which marking begins.  Nobody is in the runtime: what the program has taken of the heap since
 * the cycle was asked for is known here. */
static bool stop_first(struct stop_clock *clock, const char **why)
{
    if (!stop(clock, why))
        return false;
    if (LIKELY(!load_relaxed(&ceded_unknown)))
        return true;
    *why = "no memory to note what the program has taken of the heap";
    world_start();
    runtime_leave_task();
    return false;
}

/* Returns how long the program stood still.  The clock is read first: whoever wakes the program
 * gives it the processor, most likely, and may have to wait for its turn to look at the clock. */
static uint64_t start(struct cycle_report *report, const struct stop_clock *clock)
{
    uint64_t pause_ns = host_clock_ns() - clock->signal_ns;

    world_start();
    runtime_leave_task();
    dawdle();
    ASSERT(report->stops < CYCLE_STOPS);
    report->stop_ns[report->stops++] = pause_ns;
    report->pause_ns += pause_ns;
    report->longest_pause_ns = max_size(report->longest_pause_ns, pause_ns);
    return pause_ns;
}

static void set_marking(bool on, bool beside_program)
{
    store_relaxed(&gc_phase, on ? GC_MARKING : GC_OFF);
    store_relaxed(&span_allocate_black, on);
    store_relaxed(&span_free_black, on && !beside_program);
    store_relaxed(&gc_barrier_on, on && beside_program);
}

/* Mode manual: all malloc blocks are roots. */
static bool keeps_distances(void)
{
    return options.mode == MODE_COLLECT && roots_keep_distances();
}

/* Nothing was lost if distances were followed from the beginning on: see distance.h. */
static bool malloc_is_spared(void)
{
    return options.mode == MODE_COLLECT &&
           (roots_hide(mark_is_unreached) || keeps_distances() != load_relaxed(&distance_followed));
}

static void begin_marking_stopped(bool beside_program)
{
    if (options.verify)
        verify_stopped(false);
    store_relaxed(&distance_followed, keeps_distances());
    mark_setup_stopped();
    if (!beside_program)
        mark_close_magazines_stopped();
    set_marking(true, beside_program);
}

static void end_marking_stopped(struct cycle_report *report, const struct cycle_hooks *hooks)
{
    if (options.gccheckmark && report->method == METHOD_SNAPSHOT)
        checkmark_compare_stopped();
    else if (options.gccheckmark)
        checkmark_stopped();
    if (options.verify)
        verify_stopped(true);
    report->heap_after_mark = hooks->live_bytes();
    report->gc_after_mark = hooks->gc_live_bytes();
    set_marking(false, false);
    store_relaxed(&gc_phase, GC_SWEEPING);
    cycles.swept = true;
    report->spared = malloc_is_spared();
    sweep_begin_stopped(report->spared);
}

/* Nothing was changed but marks.  The world runs.  A thread that does not stop is in no slow path, most
 * likely: it waits for the child of a vfork, or blocks all signals.  That will do. */
static void forget_marking(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    struct stop_clock clock;
    const char *why;
    bool stopped;

    store_relaxed(&cycle_pressure_ns, 0);
    mark_give_up();
    while (!(stopped = stop(&clock, &why)) && !runtime_close()) {
        hooks->late();
        park_for(RETRY_NS);
    }
    if (!stopped)
        clock.signal_ns = host_clock_ns();
    report->heap_after_mark = hooks->live_bytes();
    report->gc_after_mark = hooks->gc_live_bytes();
    set_marking(false, false);
    cycles.marks_stale = true;          /* before a fork can come in */
    report->concurrent_ns =
        clock.signal_ns - report->start_ns - report->setup_ns - report->termination_ns;
    if (stopped)
        report->termination_ns += start(report, &clock);
    else
        runtime_open();
}

/* --- marking in one stop ---------------------------------------------------------------- */

static bool mark_everything_stopped(struct cycle_report *report)
{
    mark_open_job(all_workers());
    bool complete = roots_visit(mark_root_range, NULL, ROOTS_ALL, &report->abandoned);

    mark_close_job();
    if (!complete)
        return false;
    if (options.mode == MODE_MANUAL)
        mark_walk(WALK_MALLOC_ROOTS, all_workers());
    else
        mark_keep(all_workers());
    return true;
}

/* The rest of a cycle, in the stop in which marking has begun. */
static bool finish_stopped(const struct cycle_hooks *hooks, struct cycle_report *report,
                           const struct stop_clock *clock)
{
    bool complete = mark_everything_stopped(report);

    if (complete) {
        end_marking_stopped(report, hooks);
    } else {
        set_marking(false, false);
        cycles.marks_stale = true;
    }
    uint64_t pause_ns = start(report, clock);

    report->setup_ns = clock->stopped_ns - clock->signal_ns;
    report->termination_ns = pause_ns - report->setup_ns;
    return complete;
}

static bool run_stopped(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    struct stop_clock clock;

    if (!stop_first(&clock, &report->abandoned))
        return false;
    begin_marking_stopped(false);
    return finish_stopped(hooks, report, &clock);
}

/* --- marking beside the program ------------------------------------------------------------ */

static bool stop_1(struct cycle_report *report)
{
    struct stop_clock clock;

    if (!stop_first(&clock, &report->abandoned))
        return false;
    begin_marking_stopped(true);
    roots_register_stopped(dirty_userfault());
    roots_visit_stacks(mark_root_words, NULL);
    report->setup_ns = start(report, &clock);
    return true;
}

static void mark_from_roots(uint32_t workers)
{
    mark_open_job(workers);
    roots_visit_running(dirty_userfault(), mark_root_range, NULL);
    mark_close_job();
    if (options.mode == MODE_MANUAL)
        mark_walk(WALK_MALLOC_ROOTS, workers);
}

/* One round: what was written since is armed and scanned again.  Returns pages, -1: tracking was
 * lost. */
static long preclean_round(struct cycle_report *report, uint32_t workers)
{
    mark_open_job(workers);
    long pages = dirty_rescan(true, LONG_MAX);

    if (pages >= 0) {
        report->precleaned_pages += (uint64_t)pages;
        pages += (long)(roots_visit_written(mark_root_range, NULL) / 4096);
    }
    mark_close_job();
    mark_keep_rest();
    return pages;
}

/* A program that writes faster than we clean leaves as much after each round: it must be slowed. */
static void press(struct cycle_report *report)
{
    report->pressure_ns = report->pressure_ns == 0
                              ? PRESSURE_LEAST_NS
                              : (uint32_t)min_size(report->pressure_ns * 2, PRESSURE_MOST_NS);
    store_relaxed(&cycle_pressure_ns, report->pressure_ns);
}

/* Rounds until little is left. */
static bool preclean(struct cycle_report *report, uint32_t workers)
{
    long before = LONG_MAX;

    for (int round = 0; round < ROUNDS; round++) {
        long pages = preclean_round(report, workers);

        if (pages < 0)
            return false;
        if (pages <= FEW_PAGES)
            break;
        if (pages > before - before / 4)
            press(report);
        before = pages;
    }
    return true;
}

enum outcome { DONE, TOO_MUCH, FRUITLESS, FAILED };

static long stop_pages(int attempt)
{
    size_t heap = load_relaxed(&arena.bytes);
    size_t walk = heap > LARGE_HEAP ? (heap - LARGE_HEAP) / (LARGE_HEAP / STOP_PAGES_LARGE) : 0;
    size_t pages = walk < STOP_PAGES ? STOP_PAGES - walk : 0;

    return (long)max_size(pages, STOP_PAGES_LARGE) << attempt;
}

/* What remains, in the stop.  The first attempts have a budget. */
static enum outcome terminate_stopped(struct cycle_report *report, int attempt)
{
    bool last = attempt == ATTEMPTS - 1;
    long max_pages = last ? LONG_MAX - 1 : stop_pages(attempt);

    mark_cached_stopped();
    mark_barrier_stopped();
    long pages = dirty_rescan(false, max_pages);

    if (pages < 0)
        report->abandoned = "dirty tracking was lost";
    if (pages < 0 || pages > max_pages)
        return pages < 0 ? FAILED : TOO_MUCH;
    report->stopped_pages = (uint64_t)pages;
    if (!roots_visit(mark_root_words, NULL, ROOTS_TRACKED, &report->abandoned))
        return FAILED;
    if (!mark_finish_stopped(STOP_BYTES << attempt)) {
        if (!last)
            return TOO_MUCH;
        mark_open_job(all_workers());
        mark_close_job();
    }
    mark_keep_rest();
    return DONE;
}

/* One attempt at stop 2. */
static enum outcome stop_2(const struct cycle_hooks *hooks, struct cycle_report *report,
                           int attempt)
{
    struct stop_clock clock;

    if (!stop(&clock, &report->abandoned))
        return FAILED;
    report->concurrent_ns =
        clock.signal_ns - report->start_ns - report->setup_ns - report->termination_ns;
    enum outcome outcome = terminate_stopped(report, attempt);

    if (outcome == DONE)
        end_marking_stopped(report, hooks);
    report->termination_ns += start(report, &clock);
    return outcome;
}

/* All that the roots lead to is marked.  What is not is garbage, or was born in a slot that was freed
 * meanwhile: not more than this can be freed. */
static bool is_fruitless(const struct cycle_hooks *hooks, const struct cycle_report *report)
{
    struct mark_totals totals = mark_totals();

    return cycles.brief && hooks->gc_live_bytes() == 0 &&
           pacer_is_fruitless(report->heap_before, totals.marked[KIND_MALLOC] + totals.cached);
}

static enum outcome mark_beside_program(const struct cycle_hooks *hooks,
                                        struct cycle_report *report)
{
    uint32_t workers = (uint32_t)min_size(pacer_workers(most_workers()), all_workers());

    mark_from_roots(workers);
    if (is_fruitless(hooks, report))
        return FRUITLESS;
    if (preclean_round(report, workers) < 0) {
        report->abandoned = "dirty tracking was lost";
        return FAILED;
    }
    report->unarmed_pages = cycles.brief ? report->precleaned_pages : 0;
    if (options.mode == MODE_COLLECT)
        mark_keep(workers);
    for (int attempt = 0;; attempt++) {
        if (!preclean(report, workers)) {
            report->abandoned = "dirty tracking was lost";
            return FAILED;
        }
        enum outcome outcome = stop_2(hooks, report, attempt);
        if (outcome != TOO_MUCH)
            return outcome;
        press(report);
        start_helpers(hooks, most_helpers());
    }
}

static bool run_beside_program(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    roots_prepare_tracking(dirty_userfault());
    if (!stop_1(report))
        return false;
    enum outcome outcome = mark_beside_program(hooks, report);

    if (outcome == DONE)
        return true;
    report->fruitless = outcome == FRUITLESS;
    forget_marking(hooks, report);
    return report->fruitless;
}

/* --- marking in a copy of the process -------------------------------------------------------- */

/* Stop 2, with nothing to scan: see snapshot.h. */
static bool end_snapshot(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    struct stop_clock clock;

    if (!stop(&clock, &report->abandoned))
        return false;
    report->concurrent_ns = clock.signal_ns - report->start_ns - report->setup_ns;
    end_marking_stopped(report, hooks);
    report->termination_ns = start(report, &clock);
    return true;
}

/* Without a copy everything is marked in the stop that was to make it. */
static bool run_snapshot(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    struct stop_clock clock;

    if (!stop_first(&clock, &report->abandoned)) {
        snapshot_cancel();
        return false;
    }
    begin_marking_stopped(false);
    if (options.gccheckmark)
        checkmark_record_stopped();
    if (!snapshot_start_stopped(mark_everything_stopped, report)) {
        report->method = METHOD_STOPPED;
        return finish_stopped(hooks, report, &clock);
    }
    if (options.gccheckmark)
        checkmark_confirm_stopped();
    report->setup_ns = start(report, &clock);
    if (snapshot_finish(&report->abandoned) && end_snapshot(hooks, report))
        return true;
    forget_marking(hooks, report);
    return false;
}

/* --- the whole ------------------------------------------------------------------------------- */

static void report_heap(struct cycle_report *report)
{
    bool copied = report->method == METHOD_SNAPSHOT;
    struct roots_stats roots = copied ? snapshot_totals_last()->roots : roots_stats_last();
    struct mark_totals totals = copied ? snapshot_totals_last()->mark : mark_totals();
    uint64_t fresh = report->heap_after_mark > report->heap_before
                         ? report->heap_after_mark - report->heap_before
                         : 0;

    report->malloc_live = totals.marked[KIND_MALLOC];
    report->gc_live = totals.marked[KIND_GC] + totals.marked[KIND_NOSCAN];
    report->heap_live = report->malloc_live + report->gc_live + fresh;
    report->kept_bytes = totals.kept;
    report->cached_bytes = totals.cached;
    report->scanned_bytes = totals.scanned;
    report->assist_bytes = totals.assisted;
    report->rescans = totals.rescans;
    report->stack_bytes = roots.stack_bytes;
    report->root_bytes = roots.data_bytes;
}

static bool run(const struct cycle_hooks *hooks, struct cycle_report *report)
{
    switch (report->method) {
    case METHOD_USERFAULT: return run_beside_program(hooks, report);
    case METHOD_SNAPSHOT: return run_snapshot(hooks, report);
    default: return run_stopped(hooks, report);
    }
}

bool cycle_run(bool forced, bool own_task, const struct cycle_hooks *hooks,
               struct cycle_report *report)
{
    *report = (struct cycle_report){
        .forced = forced, .goal = report->goal, .start_ns = host_clock_ns(),
        .heap_before = hooks->live_bytes(),
    };
    if (!prepare(report))
        return false;
    cycles.brief = may_be_brief(hooks, report);
    report->method = choose_method(own_task);
    cycles.helpers = 0;
    start_helpers(hooks, helpers_wanted(report->method));
    bool complete = run(hooks, report);

    store_relaxed(&cycle_pressure_ns, 0);
    mark_release();
    if (report->method == METHOD_USERFAULT) {
        dirty_disarm();
        roots_disarm(dirty_userfault());
    }
    report->mark_cpu_ns = mark_join(cycles.helpers);
    if (report->method == METHOD_SNAPSHOT)
        report->mark_cpu_ns += snapshot_totals_last()->cpu_ns;
    report->workers = all_workers();
    report_heap(report);
    cycles.failed |= !complete;
    if (!complete)
        return false;
    report->abandoned = NULL;
    report->number = ++cycles.number;
    return true;
}

bool cycle_is_looking(void)
{
    return load_relaxed(&gc_phase) == GC_MARKING && !mark_is_given_up();
}

void cycle_help_mark(void *unused)
{
    (void)unused;
    host_open_keys();
    mark_help();
}

void cycle_close(void)
{
    dirty_close();
}

void cycle_avoid_userfault(void)
{
    store_relaxed(&cycles.avoid_userfault, 1);
}

void cycle_fork_child(void)
{
    if (load_relaxed(&gc_phase) == GC_MARKING) {
        set_marking(false, false);
        cycles.marks_stale = true;
    }
    dirty_fork_child();
    snapshot_fork_child();
    mark_fork_child();
    sweep_fork_child();
}
