/* roots.c -- see roots.h; the walk itself is in roots_*.c, what they share in roots_scan.h
 *
 * Buffers are taken before the stop, from metadata, which is not scanned.  A
 * buffer that turns out too small in the stop fails that cycle; the next gather
 * makes it larger.
 */
#include "world/roots.h"

#include "base/bits.h"
#include "base/options.h"
#include "heap/ceded.h"
#include "os/host.h"
#include "world/roots_scan.h"

/* Linux allows 65530 mappings unless told otherwise; untouched room costs no memory. */
#define FIRST_MAPPINGS ((size_t)66 * 1024)
#define FIRST_CUTS ((size_t)2 * 1024)

/* Cycle owner only. */
static struct {
    struct mapping *mappings;
    size_t mapping_capacity, mappings_wanted;
    struct mapping_table table;     /* as it was last read */
    struct stack_cut *cuts;
    size_t cut_capacity, cuts_wanted;
    struct page_range *ranges;
    char *scratch;
    uintptr_t *bounce;
    struct roots_stats stats;
    bool distances;                 /* for ever: a library may be unloaded, and loaded again for its blocks */
} buffers = { .mappings_wanted = FIRST_MAPPINGS, .cuts_wanted = FIRST_CUTS };

static bool gather_fixed(void)
{
    if (buffers.ranges == NULL)
        buffers.ranges = meta_alloc(ROOTS_RANGES * sizeof buffers.ranges[0]);
    if (buffers.scratch == NULL)
        buffers.scratch = meta_alloc(PROC_SCRATCH_BYTES);
    if (buffers.bounce == NULL)
        buffers.bounce = meta_alloc(ROOTS_PIECE_BYTES);
    return buffers.ranges != NULL && buffers.scratch != NULL && buffers.bounce != NULL;
}

static bool gather_mappings(void)
{
    size_t wanted = buffers.mappings_wanted;

    if (buffers.mapping_capacity >= wanted)
        return true;
    struct mapping *mappings = meta_alloc(wanted * sizeof mappings[0]);

    if (mappings == NULL)
        return false;
    buffers.mappings = mappings;
    buffers.mapping_capacity = wanted;
    return true;
}

static bool gather_cuts(void)
{
    /* A task makes at most two; tasks that were never announced come on top. */
    size_t wanted = max_size(buffers.cuts_wanted, (size_t)thread_count() * 2);

    if (buffers.cut_capacity >= wanted)
        return true;
    wanted *= 2;
    struct stack_cut *cuts = meta_alloc(wanted * sizeof cuts[0]);

    if (cuts == NULL)
        return false;
    buffers.cuts = cuts;
    buffers.cut_capacity = wanted;
    return true;
}

bool roots_gather(void)
{
    return gather_fixed() && gather_mappings() && gather_cuts() && roots_covered_gather();
}

bool roots_read_mappings(struct roots_scan *scan, enum which_mappings which)
{
    bool all = which == MAPPINGS_ALL;

    scan->mappings = (struct mapping_table){
        .rows = buffers.mappings, .capacity = buffers.mapping_capacity,
        .skip_low = all ? 0 : arena.start, .skip_high = all ? 0 : arena.end,
        .next_kept = which == MAPPINGS_ROOTS ? ceded_next_unloadable : NULL,
        .watch_low = arena.base, .watch_high = arena.base + load_relaxed(&arena.bytes),
    };
    if (!proc_read_mappings(&scan->mappings, scan->scratch)) {
        scan->why = "/proc/self/maps cannot be read";
        return false;
    }
    if (scan->mappings.count > scan->mappings.capacity) {
        buffers.mappings_wanted = scan->mappings.count * 2;
        scan->why = "more mappings than there was room for";
        return false;
    }
    buffers.table = scan->mappings;
    buffers.distances |= scan->mappings.distances_seen;
    return true;
}

static bool read_mappings(struct roots_scan *scan)
{
    if (!roots_read_mappings(scan, MAPPINGS_ROOTS))
        return false;
    /* By a system call of the program's own; by libc's, it would be known (api/wrap_memory.c). */
    if (scan->mappings.watched_unreadable) {
        scan->why = "the program made part of the heap unreadable";
        return false;
    }
    return true;
}

/* A process that dropped root's privileges may not open its own page map. */
void roots_open_pagemap(struct roots_scan *scan)
{
    scan->without_pagemap =
        options.nopagemapscan == 2 || !pagemap_open(&scan->pagemap, options.nopagemapscan != 0,
                                                    scan->scratch, PROC_SCRATCH_BYTES);
}

static bool visit_tasks(struct roots_scan *scan)
{
    size_t count;

    world_tasks(&count);
    if (count * 2 > scan->cut_capacity)
        buffers.cuts_wanted = count * 2;
    return roots_visit_tasks(scan);
}

void roots_scan_begin(struct roots_scan *scan, root_visitor visit, void *context)
{
    *scan = (struct roots_scan){
        .visit = visit, .context = context, .mappings = buffers.table, .cuts = buffers.cuts,
        .cut_capacity = buffers.cut_capacity, .ranges = buffers.ranges,
        .scratch = buffers.scratch, .bounce = buffers.bounce, .pagemap.fd = -1,
        .keys = host_open_keys(),
    };
    remote_open(&scan->remote);
}

void roots_scan_end(struct roots_scan *scan)
{
    remote_close(&scan->remote);
    pagemap_close(&scan->pagemap);
    host_restore_keys(scan->keys);
}

static bool visit_kernel(struct roots_scan *scan)
{
    bool foreign, seen = scan->tracked && roots_running.held_visited;

    roots_visit_alternate_stacks(scan);
    return seen || roots_visit_held(scan, false, -1, &foreign);
}

bool roots_visit(root_visitor visit, void *context, enum which_roots which, const char **why)
{
    struct roots_scan scan;

    roots_scan_begin(&scan, visit, context);
    scan.tracked = which == ROOTS_TRACKED;
    scan.lasting = which == ROOTS_LASTING;
    roots_open_pagemap(&scan);
    bool complete = read_mappings(&scan) && visit_tasks(&scan) &&
                    roots_visit_mappings(&scan) && visit_kernel(&scan) &&
                    roots_visit_registered(&scan);

    roots_scan_end(&scan);
    buffers.stats = scan.stats;
    if (scan.tracked)
        buffers.stats.data_bytes = max_size(roots_running.data_bytes, scan.stats.data_bytes);
    *why = complete ? NULL : scan.why;
    return complete;
}

bool roots_keep_distances(void)
{
    return buffers.distances;
}

struct roots_stats roots_stats_last(void)
{
    return buffers.stats;
}
