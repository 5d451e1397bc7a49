/* stats.c -- see stats.h */
#include "watch/stats.h"

#include <string.h>
#include <time.h>

#include "base/fmt.h"
#include "base/lock.h"
#include "base/sys.h"
#include "os/host.h"
#include "world/thread.h"

_Static_assert(GC_SIZE_CLASSES >= SIZE_CLASSES, "gcalloc.h has room for all classes");

static const uint64_t NS_PER_S = 1000000000;

/* What is known from the reports; words only, so that they can be copied atomically by words. */
struct totals {
    uint64_t cycles, forced, abandoned;
    uint64_t gc_cpu_ns, pause_total_ns, pause_longest_ns, last_start, last_end;
    uint64_t heap_live, malloc_live, malloc_reclaimed, reclaimed;
    uint64_t stack_scan, root_scan;
};

struct history {
    struct totals totals;
    uint64_t pause_ns[GC_PAUSES], pause_end[GC_PAUSES];
};

enum {
    COPY_TRIES = 1000,          /* a forked child may find a sequence that stays odd */
};

static AT_START struct {
    uint64_t start_ns;          /* constant after stats_init */
    uint32_t cpus;              /* the same */
    uint64_t goal;              /* atomic */
} process = { .cpus = 1, .goal = UINT64_MAX };

static struct {
    uint32_t sequence;          /* atomic: odd while `shown` is being written */
    struct history draft;       /* whoever ran the cycle */
    struct history shown;       /* atomic words: copy of draft */
} record;

static uint64_t unix_time_ns(void)
{
    struct timespec now = { 0 };

    sys_call2(SYS_clock_gettime, CLOCK_REALTIME, (long)&now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void stats_init(void)
{
    process.start_ns = host_clock_ns();
    process.cpus = host_cpus();
}

/* ---- cycles ---- */

static void copy_words(void *to, const void *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
        store_relaxed(&((uint64_t *)to)[i], load_relaxed(&((const uint64_t *)from)[i]));
}

static void publish(void)
{
    uint32_t sequence = load_relaxed(&record.sequence);

    store_relaxed(&record.sequence, sequence | 1);
    fence_release();
    copy_words(&record.shown, &record.draft, sizeof record.shown);
    store_release(&record.sequence, (sequence | 1) + 1);
}

/* pause_ns and pause_end have GC_PAUSES words each. */
static void read_history(struct totals *totals, uint64_t *pause_ns, uint64_t *pause_end)
{
    for (int try = 0; try < COPY_TRIES; try++) {
        uint32_t before = load_acquire(&record.sequence);
        copy_words(totals, &record.shown.totals, sizeof *totals);
        copy_words(pause_ns, record.shown.pause_ns, sizeof record.shown.pause_ns);
        copy_words(pause_end, record.shown.pause_end, sizeof record.shown.pause_end);
        fence_acquire();
        if ((before & 1) == 0 && load_relaxed(&record.sequence) == before)
            return;
    }
}

/* Go charges the stops to every CPU; the marking is charged as it was measured. */
static uint64_t cycle_cpu_ns(const struct cycle_report *report)
{
    return report->pause_ns * process.cpus +
           (report->method == METHOD_STOPPED ? 0 : report->mark_cpu_ns);
}

static double cpu_fraction(uint64_t gc_cpu_ns, uint64_t now_ns)
{
    uint64_t available = (now_ns - process.start_ns) * process.cpus;

    return available != 0 ? (double)gc_cpu_ns / (double)available : 0;
}

static void note_finished(const struct cycle_report *report)
{
    struct totals *t = &record.draft.totals;
    size_t place = t->cycles % GC_PAUSES;
    uint64_t end_ns =
        report->start_ns + report->setup_ns + report->concurrent_ns + report->termination_ns;

    t->cycles++;
    t->forced += report->forced;
    t->gc_cpu_ns += cycle_cpu_ns(report);
    t->last_start = report->start_ns;
    t->last_end = unix_time_ns() - (host_clock_ns() - end_ns);
    record.draft.pause_ns[place] = report->pause_ns;
    record.draft.pause_end[place] = t->last_end;
    t->pause_total_ns += report->pause_ns;
    if (report->longest_pause_ns > t->pause_longest_ns)
        t->pause_longest_ns = report->longest_pause_ns;
    t->heap_live = report->heap_live;
    t->malloc_live = report->malloc_live;
    t->reclaimed += report->reclaim_bytes;
    t->malloc_reclaimed += report->malloc_reclaim_bytes;
    t->stack_scan = report->stack_bytes;
    t->root_scan = report->root_bytes;
}

void stats_note_cycle(const struct cycle_report *report)
{
    if (report->abandoned != NULL)
        record.draft.totals.abandoned++;
    else
        note_finished(report);
    publish();
}

struct gctrace_context stats_trace_context(const struct cycle_report *report)
{
    uint64_t cpu_ns = record.draft.totals.gc_cpu_ns;

    if (record.draft.totals.last_start < report->start_ns)
        cpu_ns += cycle_cpu_ns(report);
    return (struct gctrace_context){
        .start_ns = process.start_ns,
        .cpu_percent = (uint32_t)(cpu_fraction(cpu_ns, host_clock_ns()) * 100),
        .cpus = process.cpus,
    };
}

void stats_note_goal(uint64_t goal)
{
    store_relaxed(&process.goal, goal);
}

/* ---- the heap ---- */

static void fill_heap(struct gc_memstats *out, const struct census *census,
                      const struct pages_stats *pages)
{
    out->heap_objects = census_objects(census);
    out->heap_alloc = out->alloc = census_bytes(census);
    out->heap_cached_objects = census_cached_objects(census);
    out->heap_cached_bytes = census_cached_bytes(census);
    out->total_alloc = census->allocated_bytes;
    out->mallocs = max_size(census->allocated, out->heap_objects);
    out->frees = out->mallocs - out->heap_objects;
    /* Pages retired after a failed mapping count as idle and released for ever. */
    out->heap_sys = pages->heap_pages << PAGE_SHIFT;
    out->heap_idle = (pages->free_pages + pages->lost_pages) << PAGE_SHIFT;
    out->heap_inuse = out->heap_sys - out->heap_idle;
    out->heap_released = (pages->released_pages + pages->lost_pages) << PAGE_SHIFT;
    out->malloc_condemned = census->condemned_bytes;
    out->threads = census->threads;
}

static void fill_metadata(struct gc_memstats *out, const struct census *census)
{
    uint64_t meta = load_relaxed(&arena.meta.ready);

    out->mspan_inuse = census->header_bytes_inuse;
    out->mspan_sys = census->header_bytes + load_relaxed(&arena.table.ready);
    out->mcache_inuse = census->threads * (uint64_t)sizeof(struct thread);
    out->mcache_sys = census->thread_structures * (uint64_t)sizeof(struct thread);
    out->gc_sys = load_relaxed(&arena.map.ready) + load_relaxed(&arena.chunks.ready);
    uint64_t known = census->header_bytes + out->mcache_sys;

    out->other_sys = meta > known ? meta - known : 0;
    out->sys = out->heap_sys + out->mspan_sys + out->mcache_sys + out->gc_sys + out->other_sys;
}

static uint64_t all_lock_waits(void)
{
    uint64_t waits = 0;

    for (unsigned rank = 0; rank < LOCK_RANKS; rank++)
        waits += lock_waits(rank);
    return waits;
}

static void fill_traffic(struct gc_memstats *out, const struct census *census)
{
    out->refills = census->refills;
    out->merges = census->merges;
    out->flushes = census->flushes;
    out->foreign_frees = census->foreign_frees;
    out->lock_waits = all_lock_waits();
}

static void fill_classes(struct gc_memstats *out, const struct census *census)
{
    uint64_t small = 0;

    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        uint64_t mallocs = max_size(census->class_refilled[c], census->classes[c].live);
        out->by_size[c].size = size_classes[c].slot_bytes;
        out->by_size[c].mallocs = mallocs;
        out->by_size[c].frees = mallocs - census->classes[c].live;
        small += mallocs;
    }
    out->by_size[0].mallocs = out->mallocs > small ? out->mallocs - small : 0;
    uint64_t large = min_size(census->classes[0].live, out->by_size[0].mallocs);

    out->by_size[0].frees = out->by_size[0].mallocs - large;
}

static void fill_cycles(struct gc_memstats *out)
{
    struct totals t;

    read_history(&t, out->pause_ns, out->pause_end);
    out->next_gc = load_relaxed(&process.goal);
    out->enable_gc = out->next_gc != UINT64_MAX;
    out->last_gc = t.last_end;
    out->pause_total_ns = t.pause_total_ns;
    out->num_gc = (uint32_t)t.cycles;
    out->num_forced_gc = (uint32_t)t.forced;
    out->num_abandoned_gc = (uint32_t)t.abandoned;
    out->gc_cpu_fraction = cpu_fraction(t.gc_cpu_ns, host_clock_ns());
    out->heap_live = t.heap_live;
    out->malloc_live = t.malloc_live;
    out->malloc_reclaimed = t.malloc_reclaimed;
    out->stack_scan = t.stack_scan;
    out->globals_scan = t.root_scan;
}

bool stats_read(struct stats *stats)
{
    struct thread *thread = runtime_enter();

    memset(stats, 0, sizeof *stats);
    if (thread == NULL)
        return false;
    census_take(&stats->census);
    pages_stats_read(&stats->pages);
    runtime_leave(thread);
    return true;
}

void stats_fill_memstats(const struct stats *stats, struct gc_memstats *out)
{
    memset(out, 0, sizeof *out);
    fill_heap(out, &stats->census, &stats->pages);
    fill_metadata(out, &stats->census);
    fill_classes(out, &stats->census);
    fill_traffic(out, &stats->census);
    fill_cycles(out);
}

bool stats_recount(const char **what)
{
    struct stats stats;
    const struct census *census = &stats.census;
    const struct pages_stats *pages = &stats.pages;

    *what = "memory";
    if (!stats_read(&stats))
        return false;
    for (unsigned c = 0; c < SIZE_CLASSES; c++) {
        *what = "live slots of a class against its bits";
        if (census->classes[c].live != census->classes[c].objects)
            return false;
        *what = "cached slots of a class";
        if (census->classes[c].cached > census->classes[c].objects)
            return false;
    }
    *what = "bytes of small spans";
    if (census->small_bytes != pages->small_bytes)
        return false;
    *what = "large objects";
    if (census->large_bytes != pages->large_bytes || census->classes[0].spans != pages->large_spans)
        return false;
    *what = "blocks allocated less freed, when no cycle ever reclaimed one";
    return record.draft.totals.reclaimed != 0 ||
           census->allocated - census->flushed == census_objects(census);
}

/* ---- the summary at exit ---- */

static void print_heap(const struct gc_memstats *m)
{
    fmt_print(2,
              "libgcalloc: heap %lu KiB in %lu blocks (%lu KiB of it cached), %lu KiB ever "
              "allocated\n",
              m->heap_alloc >> 10, m->heap_objects, m->heap_cached_bytes >> 10,
              m->total_alloc >> 10);
    fmt_print(2,
              "libgcalloc: %lu KiB of spans, %lu KiB idle (%lu KiB returned), %lu KiB of "
              "metadata, %u threads\n",
              m->heap_inuse >> 10, m->heap_idle >> 10, m->heap_released >> 10,
              (m->sys - m->heap_sys) >> 10, m->threads);
}

/* What threads have to do with each other. */
static void print_traffic(const struct census *census)
{
    fmt_print(2,
              "libgcalloc: %lu refills (%lu from filed spans, %lu merges), %lu flushes (%lu blocks of "
              "other threads), %lu lock waits",
              census->refills, census->filed, census->merges, census->flushes,
              census->foreign_frees, all_lock_waits());
    for (unsigned rank = 0; rank < LOCK_RANKS; rank++)
        if (lock_waits(rank) != 0)
            fmt_print(2, ", %s %lu", lock_name(rank), lock_waits(rank));
    fmt_print(2, "\n");
}

static void print_cycles(const struct gc_memstats *m)
{
    const struct totals *t = &record.shown.totals;
    char longest[24], total[24];

    gctrace_format_ms(longest, sizeof longest, t->pause_longest_ns);
    gctrace_format_ms(total, sizeof total, t->pause_total_ns);
    fmt_print(2,
              "libgcalloc: %lu cycles (%lu forced, %lu abandoned), %s ms stopped, %s ms the "
              "longest stop, %F %% of the CPU time\n",
              t->cycles, t->forced, t->abandoned, total, longest, m->gc_cpu_fraction * 100);
    fmt_print(2,
              "libgcalloc: %lu KiB reclaimed, of it %lu KiB of malloc blocks; %lu KiB more "
              "found unreachable once\n",
              t->reclaimed >> 10, t->malloc_reclaimed >> 10, m->malloc_condemned >> 10);
}

void stats_print_exit(void)
{
    struct stats stats;
    struct gc_memstats memstats;

    if (!stats_read(&stats))
        return;
    stats_fill_memstats(&stats, &memstats);
    print_heap(&memstats);
    print_traffic(&stats.census);
    print_cycles(&memstats);
}
