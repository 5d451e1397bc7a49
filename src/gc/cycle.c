/* cycle.c -- see cycle.h
 *
 *   1  sweep what is left of the last cycle; prepare memory and helpers
 *   2  stop the world
 *   3  mark: cached slots, roots, and all that they reach
 *   4  mode collect: condemn malloc blocks that were not reached; mark all that
 *      they reach
 *   5  every span now needs sweeping; start the world
 *
 * A cycle that cannot be sound ends at the point where that shows: the mark bits are
 * cleared, and nothing else has been changed.
 */
#include "gc/cycle.h"

#include <string.h>

#include "base/bits.h"
#include "base/options.h"
#include "base/sys.h"
#include "gc/mark.h"
#include "os/host.h"
#include "world/roots.h"
#include "world/stop.h"

uint32_t gc_phase;

/* Cycles that were not abandoned; the running cycle's. */
static uint64_t cycles;

static void finish_last_sweep(void)
{
    while (sweep_some(UINT32_MAX))
        continue;
    while (!sweep_is_done())
        sys_yield();
}

static unsigned helpers_wanted(void)
{
    unsigned workers = options.workers != 0 ? (unsigned)options.workers : host_cpus();

    if (options.noworkers || workers == 0)
        return 0;
    return (unsigned)min_size(workers, MARK_WORKERS) - 1;
}

/* Everything that the roots reach.  False: a root could not be read; *why says which. */
static bool mark_from_roots(unsigned helpers, const char **why)
{
    mark_begin_stopped(helpers == 0);
    mark_magazines_stopped();
    bool complete = roots_visit(mark_root_range, NULL, why);

    mark_trace_stopped();
    if (!complete) {
        mark_walk_stopped(WALK_CLEAR);
        return false;
    }
    if (options.mode == MODE_MANUAL)
        mark_walk_stopped(WALK_MALLOC_ROOTS);
    return true;
}

static void condemn(void)
{
    mark_walk_stopped(WALK_CONDEMN);
    mark_walk_stopped(WALK_CONDEMNED);
}

static uint64_t sum_kinds(const uint64_t bytes[KINDS])
{
    uint64_t sum = 0;

    for (unsigned kind = 0; kind < KINDS; kind++)
        sum += bytes[kind];
    return sum;
}

/* `reached`: totals when the closure of the roots was complete. */
static void report_heap(struct cycle_report *report, const struct mark_totals *reached,
                        const struct mark_totals *marked)
{
    struct roots_stats roots = roots_stats_last();

    report->cached_bytes = sum_kinds(marked->cached);
    report->heap_before = sum_kinds(marked->objects) - report->cached_bytes;
    report->heap_after_mark = report->heap_before;
    report->heap_live = sum_kinds(marked->marked);
    report->malloc_live = reached->marked[KIND_MALLOC];
    report->gc_live = sum_kinds(reached->marked) - report->malloc_live;
    report->condemned_bytes = marked->condemned;
    report->reclaim_bytes = report->heap_before - report->heap_live;
    report->malloc_reclaim_bytes = marked->objects[KIND_MALLOC] - marked->cached[KIND_MALLOC] -
                                   marked->marked[KIND_MALLOC];
    report->rescans = marked->rescans;
    report->stack_bytes = roots.stack_bytes;
    report->root_bytes = roots.data_bytes;
}

/* Steps 3 to 5 up to the restart. */
static bool mark_stopped(unsigned helpers, struct cycle_report *report)
{
    store_relaxed(&gc_phase, GC_MARKING);
    if (!mark_from_roots(helpers, &report->abandoned)) {
        store_relaxed(&gc_phase, GC_OFF);
        return false;
    }
    struct mark_totals reached = mark_totals();

    if (options.mode == MODE_COLLECT)
        condemn();
    struct mark_totals marked = mark_totals();

    report_heap(report, &reached, &marked);
    store_relaxed(&gc_phase, GC_SWEEPING);
    sweep_begin_stopped();
    return true;
}

/* Steps 2 to 5. */
static bool stop_and_mark(unsigned helpers, struct cycle_report *report)
{
    uint64_t signal_ns = host_clock_ns();

    if (!world_stop(&report->abandoned)) {
        report->stop_ns = host_clock_ns() - report->start_ns;
        return false;
    }
    uint64_t stopped_ns = host_clock_ns();
    bool marked = mark_stopped(helpers, report);
    uint64_t marked_ns = host_clock_ns();

    world_start();
    uint64_t started_ns = host_clock_ns();

    report->stop_ns = stopped_ns - signal_ns;
    report->mark_ns = marked_ns - stopped_ns;
    report->restart_ns = started_ns - marked_ns;
    report->pause_ns = started_ns - signal_ns;
    return marked;
}

static bool prepare(struct cycle_report *report)
{
    finish_last_sweep();
    if (!roots_gather() || !mark_prepare()) {
        report->abandoned = "no memory to mark with";
        return false;
    }
    return true;
}

bool cycle_run(bool forced, cycle_helpers help, struct cycle_report *report)
{
    *report = (struct cycle_report){
        .forced = forced, .goal = report->goal, .start_ns = host_clock_ns(),
    };
    if (!prepare(report))
        return false;
    unsigned wanted = helpers_wanted();
    unsigned helpers = wanted != 0 && help != NULL ? help(wanted) : 0;
    bool complete = stop_and_mark(helpers, report);

    mark_release();
    report->mark_cpu_ns = mark_join(helpers);
    report->workers = helpers + 1;
    if (!complete) {
        if (report->abandoned == NULL)
            report->abandoned = "the world could not be stopped";
        return false;
    }
    report->abandoned = NULL;
    report->number = ++cycles;
    return true;
}

void cycle_help_mark(void *unused)
{
    (void)unused;
    mark_help();
}

void cycle_fork_child(void)
{
    uint32_t phase = load_relaxed(&gc_phase);

    if (phase == GC_MARKING)
        store_relaxed(&gc_phase, GC_OFF);
    mark_fork_child();
    sweep_fork_child();
}
