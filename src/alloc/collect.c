/* collect.c -- see collect.h: counting, pacing, assisting
 *
 * LOCKING  The counts are atomic and relaxed: every thread adds what it took and gave back since
 *          it last did.  The pacer is guarded by `pacing`, a flag that threads only try to
 *          take; what others read of it are copies.
 */
#include "alloc/collect.h"

#include "base/atomics.h"
#include "base/options.h"
#include "base/park.h"
#include "gc/limiter.h"
#include "gc/mark.h"
#include "gc/pacer.h"
#include "heap/pages.h"
#include "os/host.h"
#include "watch/stats.h"

enum {
    ACCOUNT_BYTES = 64 << 10,   /* what a thread may keep to itself; less under gcstress */
    ASSIST_LEAST = 4 << 10,     /* bytes of work that are worth beginning */
    ASSIST_MOST = 64 << 10,     /* ... and at most at a time: 30 us or so */
    MAKE_WAY_SPANS = 16, MAKE_WAY_NS = 250000,      /* per refill, above a goal */
    BEG_DEBT = 64 << 10,        /* work owed that a thread asks the markers for, and again after as much */
    NAP_DEBT = 256 << 10,       /* ... that it waits for */
    NAP_MOST = 4 << 20,         /* ... and at most at a time */
    NAP_WORK = 1 << 10, NAP_NS = 1000,      /* what a marker does in how much time */
    WEIGH_BYTES = 1 << 20,      /* allocated between two looks at whether a cycle is worth it */
    FAULT_NS = 1000,            /* the first write to an armed page */
};

static AT_START ALIGNED(CACHE_LINE) struct {
    /* Atomic, relaxed. */
    int64_t live, gc_live;      /* bytes not free, as told; of them gc_alloc memory */
    uint64_t allocated;         /* bytes ever, as told */
    uint64_t stress_at;         /* gcstress: allocated at which the next cycle starts */
    uint64_t trigger, gc_trigger;
    uint64_t late_trigger;      /* a cycle is due whatever it costs */
    uint64_t weigh_at;          /* `allocated` at which it is seen again whether it is worth it */
    uint64_t free_trigger;      /* for both while the limiter is full */
    uint64_t limit_goal;        /* the goal if the memory limit has set it, else UINT64_MAX */
    uint64_t gc_goal;           /* of gc_alloc memory */
    uint64_t assist, gc_assist; /* ratios, see pacer.h */
    uint32_t enabled;           /* cycles make sense */

    uint32_t pacing;            /* atomic: somebody has the pacer */
    struct pacer pacer;
    struct limiter limiter;
    uint64_t gc_cpu_ns;         /* the collector's processor time ever */
    uint64_t cpu_at_start_ns;   /* of the process, when the running cycle began */
    uint64_t cpu_at_end_ns;     /* ... when the last one was over */
    uint64_t sweep_ns;          /* of the task that runs the cycle, when its sweep began */
    /* Of what sweeps have freed ever, so much was subtracted from live and gc_live.  By
     * whoever runs cycles. */
    struct sweep_totals settled;
    uint64_t settled_bytes;     /* atomic, relaxed: settled.freed_bytes for everybody */
    uint64_t napped_ns;         /* atomic, relaxed: that threads were kept waiting since the cycle began */
    uint64_t in_use_bytes, goal_then;   /* when the last marking ended, for the scavenger */
} policy = { .trigger = UINT64_MAX, .gc_trigger = UINT64_MAX, .limit_goal = UINT64_MAX,
           .gc_goal = UINT64_MAX };

static struct pacer_knobs knobs_now(void)
{
    return (struct pacer_knobs){
        .percent = load_relaxed(&options.gogc),
        .memory_limit = load_relaxed(&options.memory_limit),
        .heap_min = options.heap_min,
        .malloc_collected = options.mode == MODE_COLLECT,
    };
}

static uint64_t at_least_0(int64_t bytes)
{
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static uint64_t rest_of(uint64_t whole, uint64_t part)
{
    return whole > part ? whole - part : 0;
}

uint64_t collect_live_bytes(void)
{
    return at_least_0(load_relaxed(&policy.live));
}

static struct pacer_heap heap_now(void)
{
    return (struct pacer_heap){ .total = collect_live_bytes(),
                                .gc = at_least_0(load_relaxed(&policy.gc_live)) };
}

/* --- the pacer ------------------------------------------------------------------- */

static bool try_pacing(void)
{
    uint32_t free = 0;

    if (!cas_acquire(&policy.pacing, &free, 1))
        return false;
    policy.pacer.limiting = limiter_limiting(&policy.limiter);
    return true;
}

static void begin_pacing(void)
{
    for (unsigned looks = 0; !try_pacing(); looks++)
        park_between_looks(looks);
}

static void publish(void)
{
    bool limited = policy.pacer.goal < policy.pacer.free_goal;

    store_relaxed(&policy.trigger, policy.pacer.trigger);
    store_relaxed(&policy.gc_trigger, policy.pacer.gc_trigger);
    store_relaxed(&policy.late_trigger, pacer_late_trigger(&policy.pacer));
    store_relaxed(&policy.free_trigger, policy.pacer.free_trigger);
    store_relaxed(&policy.limit_goal, limited ? policy.pacer.goal : UINT64_MAX);
    store_relaxed(&policy.gc_goal, policy.pacer.gc_goal);
    store_relaxed(&policy.assist, policy.pacer.assist);
    store_relaxed(&policy.gc_assist, policy.pacer.gc_assist);
    stats_note_goal(policy.pacer.goal);
}

static void end_pacing(void)
{
    publish();
    store_release(&policy.pacing, 0);
}

static struct limiter_times times_now(void)
{
    return (struct limiter_times){ host_clock_ns(), host_process_cpu_ns(), policy.gc_cpu_ns };
}

static void advance_limiter(void)
{
    limiter_advance(&policy.limiter, times_now(), !policy.pacer.cramped);
}

/* While the limiter lets nobody collect, somebody has to tell it that time goes by. */
static bool is_limited(void)
{
    if (!limiter_limiting(&policy.limiter))
        return false;
    if (try_pacing()) {
        advance_limiter();
        store_release(&policy.pacing, 0);
    }
    return limiter_limiting(&policy.limiter);
}

static uint64_t cpu_since(uint64_t start_ns)
{
    return rest_of(host_process_cpu_ns(), start_ns);
}

/* The trigger is reached.  Between it and late_trigger the cycle must be worth its price; to see
 * that takes a system call, so it is not looked at each time. */
static bool is_worth_it(struct pacer_heap now)
{
    uint64_t allocated = load_relaxed(&policy.allocated);

    if (now.total >= load_relaxed(&policy.late_trigger) ||
        now.gc >= load_relaxed(&policy.gc_trigger))
        return true;
    if (allocated < load_relaxed(&policy.weigh_at) || !try_pacing())
        return false;
    bool worth_it = pacer_weigh(&policy.pacer, now, cpu_since(policy.cpu_at_end_ns));

    store_relaxed(&policy.weigh_at, allocated + WEIGH_BYTES);
    end_pacing();
    return worth_it;
}

bool collect_goal_reached(void)
{
    if (!load_relaxed(&policy.enabled) || collect_is_running())
        return false;
    if (options.gcstress != 0)
        return load_relaxed(&policy.allocated) >= load_relaxed(&policy.stress_at);
    struct pacer_heap now = heap_now();

    if (now.total < load_relaxed(&policy.trigger) && now.gc < load_relaxed(&policy.gc_trigger))
        return false;
    if (is_limited() && now.total < load_relaxed(&policy.free_trigger))
        return false;
    return is_worth_it(now);
}

/* --- counting ------------------------------------------------------------------ */

static void tell(struct thread *thread, int64_t live, int64_t gc_live, uint64_t allocated)
{
    fetch_add_relaxed(&policy.live, live);
    if (gc_live != 0)
        fetch_add_relaxed(&policy.gc_live, gc_live);
    fetch_add_relaxed(&policy.allocated, allocated);
    if (UNLIKELY(load_relaxed(&gc_phase) == GC_MARKING) && try_pacing()) {
        pacer_revise(&policy.pacer, heap_now(), mark_totals().scanned);
        end_pacing();
    }
    if (UNLIKELY(collect_goal_reached()))
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
    int64_t gc_live = cache->gc_bytes - thread->gc_accounted;

    thread->accounted = now;
    thread->gc_accounted = cache->gc_bytes;
    thread->allocation_seen = cache->allocated_bytes;
    tell(thread, live, gc_live, allocated);
}

void collect_account_large(struct thread *thread, enum kind kind, int64_t bytes)
{
    struct mcache *cache = &thread->cache;

    if (bytes >= 0) {
        cache->allocated_bytes += (uint64_t)bytes;
        cache->allocated_count++;
    } else {
        cache->freed_bytes += (uint64_t)-bytes;
        cache->freed_count++;
    }
    if (kind != KIND_MALLOC)
        cache->gc_bytes += bytes;
    collect_account(thread);
}

/* What sweeps have freed is live no more. */
static void settle(void)
{
    struct sweep_totals now = sweep_totals_ever();
    uint64_t freed = now.freed_bytes - policy.settled.freed_bytes;
    uint64_t malloc_freed = now.freed_malloc_bytes - policy.settled.freed_malloc_bytes;

    store_relaxed(&policy.settled_bytes, now.freed_bytes);
    policy.settled = now;
    fetch_sub_relaxed(&policy.live, (int64_t)freed);
    fetch_sub_relaxed(&policy.gc_live, (int64_t)(freed - malloc_freed));
}

/* --- assisting ------------------------------------------------------------------------ */

static uint64_t owed_for_allocation(struct thread *thread)
{
    struct mcache *cache = &thread->cache;
    uint64_t ratio = load_relaxed(&policy.assist), gc_ratio = load_relaxed(&policy.gc_assist);
    uint64_t bytes = cache->allocated_bytes - thread->assist_seen;
    int64_t gc_more = cache->gc_bytes - thread->assist_gc_seen;
    uint64_t gc_bytes = min_size(at_least_0(gc_more), bytes);

    thread->assist_seen = cache->allocated_bytes;
    thread->assist_gc_seen = cache->gc_bytes;
    if ((ratio | gc_ratio) == 0)
        thread->assist_debt = thread->begged_debt = 0;  /* marking is ahead */
    return pacer_assist_work(ratio, min_size(bytes - gc_bytes, GIB)) +
           pacer_assist_work(gc_ratio, min_size(gc_bytes, GIB));
}

/* What there is no work for to share out is paid by waiting, see collect_nap. */
static COLD void assist(struct thread *thread)
{
    /* malloc's threads nap: as markers they would count as fast ones that need their cycles earlier. */
    bool may_beg = thread->cache.gc_bytes > thread->assist_gc_seen;

    thread->assist_debt += owed_for_allocation(thread);
    if (thread->assist_debt < ASSIST_LEAST)
        return;
    bool begs = may_beg && thread->assist_debt >= thread->begged_debt + BEG_DEBT;
    uint64_t done = mark_assist(min_size(thread->assist_debt, ASSIST_MOST), begs);

    thread->assist_debt -= min_size(done, thread->assist_debt);
    if (begs || done != 0)
        thread->begged_debt = done == 0 ? thread->assist_debt : 0;
    if (thread->assist_debt >= NAP_DEBT)
        thread->nap_ns = (uint32_t)(min_size(thread->assist_debt, NAP_MOST) * NAP_NS / NAP_WORK);
}

/* Assists hold the program back only while marking.  What it would allocate before and after, while the
 * collector waits for a processor or sweeps, is too much when memory is limited, and for gc_alloc
 * memory, which it may allocate faster than anybody gets a processor. */
static bool is_above_goal(int64_t less)
{
    return at_least_0(load_relaxed(&policy.live) - less) >= load_relaxed(&policy.limit_goal) ||
           at_least_0(load_relaxed(&policy.gc_live) - less) >= load_relaxed(&policy.gc_goal);
}

/* Above the goal a thread sweeps for its memory, and when there is nothing to sweep it makes way for
 * a moment, once per refill.  A cycle that cannot begin thus makes it slow, but never stops it. */
static COLD void make_way(struct thread *thread)
{
    /* What the running sweep has freed up to now is not in the counts before it ends. */
    uint64_t swept = sweep_totals_ever().freed_bytes - load_relaxed(&policy.settled_bytes);

    if (!collect_is_running() || limiter_limiting(&policy.limiter) || !is_above_goal((int64_t)swept))
        return;
    if (!sweep_some(MAKE_WAY_SPANS))
        thread->nap_ns = MAKE_WAY_NS;
}

void collect_assist(struct thread *thread)
{
    if (LIKELY(load_relaxed(&gc_phase) != GC_MARKING)) {
        thread->assist_seen = thread->cache.allocated_bytes;
        if (UNLIKELY(is_above_goal(0)) && thread->in_runtime == 1)
            make_way(thread);   /* not in a handler that interrupted a slow path */
        return;
    }
    assist(thread);
    thread->nap_ns = (uint32_t)max_size(thread->nap_ns, load_relaxed(&cycle_pressure_ns));
    if (thread->in_runtime != 1)
        thread->nap_ns = 0;     /* in a handler that interrupted a slow path */
}

/* The debt is that of a marker that is busy with what only it can do, or gets no processor; or the
 * thread writes faster than it cleans.  The thread makes way for as long as the work would take.
 * It is parked: stops do not wait for it. */
void collect_nap(struct thread *thread)
{
    struct spilled_registers save;
    uint32_t ns = thread->nap_ns;

    if (thread->in_runtime != 0)
        return;                 /* as in collect_start_wanted */
    thread->nap_ns = 0;
    thread->assist_debt -= min_size((uint64_t)ns * NAP_WORK / NAP_NS, thread->assist_debt);
    thread->begged_debt = 0;
    fetch_add_relaxed(&policy.napped_ns, ns);
    thread_park(thread, &save);
    collect_wait_cycle(ns);
    thread_unpark(thread);
}

/* --- around a cycle -------------------------------------------------------------------- */

void collect_cycle_begins(struct cycle_report *report)
{
    settle();
    begin_pacing();
    report->goal = policy.pacer.goal;
    policy.cpu_at_start_ns = host_process_cpu_ns();
    store_relaxed(&policy.napped_ns, 0);
    pacer_start_cycle(&policy.pacer, heap_now());
    end_pacing();
}

static void count_cpu(const struct cycle_report *report)
{
    policy.gc_cpu_ns += report->mark_cpu_ns;
    advance_limiter();
}

void collect_cycle_late(void)
{
    begin_pacing();
    pacer_abandon_cycle(&policy.pacer);
    end_pacing();
}

void collect_cycle_abandoned(void)
{
    uint64_t live = collect_live_bytes();

    settle();
    begin_pacing();
    pacer_abandon_cycle(&policy.pacer);
    /* Not at once again: whoever could not be stopped may still be so. */
    policy.pacer.trigger = live + live / 8 + MIB;
    policy.pacer.late_trigger = policy.pacer.trigger;
    policy.pacer.gc_trigger = UINT64_MAX;
    end_pacing();
}

/* Processor time of the assists: the program's threads mark as fast as ours. */
static uint64_t assist_cpu_ns(const struct cycle_report *report)
{
    uint64_t own = report->scanned_bytes - report->assist_bytes;

    if (own == 0)
        return 0;
    return (uint64_t)((unsigned __int128)report->mark_cpu_ns * report->assist_bytes / own);
}

/* What counts against the limit and is no object: metadata, and what was free inside spans when the
 * heap was at its largest.  And, as in Go, what is held above the limit already: all of it may
 * be fragments that stay, and the goal must then go down by as much. */
static uint64_t overhead_bytes(const struct cycle_report *report)
{
    uint64_t meta = meta_bytes(), held = policy.in_use_bytes + meta;
    uint64_t limit = (uint64_t)load_relaxed(&options.memory_limit);

    return meta + rest_of(policy.in_use_bytes, report->heap_after_mark) + rest_of(held, limit);
}

/* With what the program itself paid: each page that was found written to had a fault, or nearly,
 * if it was armed before. */
static uint64_t cost_ns(const struct cycle_report *report)
{
    uint64_t pages = report->precleaned_pages - report->unarmed_pages + report->stopped_pages;

    return report->mark_cpu_ns + rest_of(host_thread_cpu_ns(), policy.sweep_ns) +
           assist_cpu_ns(report) + pages * FAULT_NS;
}

static struct pacer_input pacer_input(const struct cycle_report *report)
{
    uint64_t live = report->malloc_live + report->gc_live;
    uint64_t gc_reclaimed = report->reclaim_bytes - report->malloc_reclaim_bytes;
    uint64_t cpu_ns = cpu_since(policy.cpu_at_start_ns);
    struct pacer_input input = {
        .malloc_live = report->malloc_live,
        .gc_live = report->gc_live,
        .kept = rest_of(report->heap_after_mark, report->reclaim_bytes + live),
        .gc_kept = rest_of(report->gc_after_mark, gc_reclaimed + report->gc_live),
        .roots = report->stack_bytes + report->root_bytes,
        .malloc_condemned = report->condemned_bytes,
        .malloc_reclaimed = report->malloc_reclaim_bytes,
        .overhead = overhead_bytes(report),
        .cost_ns = cost_ns(report),
    };

    if (report->method != METHOD_STOPPED) {
        input.at_end = (struct pacer_heap){ report->heap_after_mark, report->gc_after_mark };
        input.scan_work = report->scanned_bytes;
        input.worker_cpu_ns = report->mark_cpu_ns;
        input.assist_cpu_ns = assist_cpu_ns(report);
        input.mutator_cpu_ns = rest_of(cpu_ns, report->mark_cpu_ns + input.assist_cpu_ns);
        input.napped_ns = load_relaxed(&policy.napped_ns);
    }
    return input;
}

void collect_cycle_marked(const struct cycle_report *report)
{
    policy.in_use_bytes = pages_in_use_bytes();
    policy.goal_then = report->goal;
    policy.sweep_ns = host_thread_cpu_ns();
}

void collect_cycle_swept(struct cycle_report *report)
{
    struct pacer_knobs knobs = knobs_now();
    struct sweep_totals swept = sweep_totals();

    settle();
    report->reclaim_bytes = swept.freed_bytes;
    report->malloc_reclaim_bytes = swept.freed_malloc_bytes;
    report->condemned_bytes = swept.condemned_bytes;
    struct pacer_input input = pacer_input(report);

    begin_pacing();
    count_cpu(report);
    if (report->method == METHOD_STOPPED)
        pacer_abandon_cycle(&policy.pacer);
    pacer_update(&policy.pacer, &knobs, &input);
    policy.cpu_at_end_ns = host_process_cpu_ns();
    end_pacing();
    store_relaxed(&policy.stress_at, load_relaxed(&policy.allocated) +
                                         (uint64_t)options.gcstress * KIB);
}

uint64_t collect_gc_live_bytes(void)
{
    return heap_now().gc;
}

uint64_t collect_retain_bytes(void)
{
    return pages_retain_bytes(policy.in_use_bytes, policy.pacer.goal, policy.goal_then);
}

/* --- knobs, fork, start ------------------------------------------------------------------ */

void collect_enable_gc(void)
{
    if (UNLIKELY(!load_relaxed(&policy.enabled)))
        store_relaxed(&policy.enabled, 1);
}

bool collect_is_enabled(void)
{
    return load_relaxed(&policy.enabled) != 0;
}

void collect_knobs_changed(void)
{
    struct pacer_knobs knobs = knobs_now();

    begin_pacing();
    pacer_retune(&policy.pacer, &knobs);
    end_pacing();
}

void collect_policy_fork_child(void)
{
    policy.pacing = 0;
    policy.cpu_at_end_ns = 0;   /* the child's clock begins anew */
    limiter_init(&policy.limiter, host_cpus(), times_now());
    pacer_abandon_cycle(&policy.pacer);
    publish();
}

void collect_policy_init(void)
{
    if (options.memory_limit_auto)
        options.memory_limit = host_auto_limit();
    struct pacer_knobs knobs = knobs_now();

    pacer_init(&policy.pacer, &knobs);
    limiter_init(&policy.limiter, host_cpus(), times_now());
    publish();
    policy.stress_at = (uint64_t)options.gcstress * KIB;
    if (options.mode == MODE_COLLECT)
        policy.enabled = 1;
}
