/* snapshot.h -- marking in a copy of the process
 *
 * PURPOSE    Where the kernel tracks no writes for us: the world is stopped for as long as it takes
 *            to clone the process (20 ms a GiB of heap in pages of 4 KiB, less than 1 in huge
 *            ones).  The copy marks all that was reachable at that moment, alone, while the
 *            program runs, and hands the bits over in memory that both share.
 * OWNER      The task that runs the cycle.
 * INVARIANT  Snapshot at the beginning: what was not reachable in the stop never will be, but for
 *            pointers in flight, for which the two-cycle rule is there; and what came into being
 *            since is marked.  So no write is tracked, no barrier records, and the second stop
 *            has nothing to scan.
 */
#ifndef GCALLOC_GC_SNAPSHOT_H
#define GCALLOC_GC_SNAPSHOT_H

#include "gc/mark.h"

struct cycle_report;

/* World running: memory for the result.  False: not this time; mark with the world stopped. */
bool snapshot_prepare(void);

/* After snapshot_prepare: there will be no copy. */
void snapshot_cancel(void);

/* World stopped, marking set up: marks what the copy will not see, and makes the copy, which calls
 * `mark` with `report`, and ends.  mark returns false and sets report->abandoned when it could not
 * mark all.  False: there is no copy; but some objects may be marked and on the worklist. */
bool snapshot_start_stopped(bool (*mark)(struct cycle_report *report), struct cycle_report *report);
/* World running: waits for the copy and takes its marks over.  False: there are none, *why says why. */
bool snapshot_finish(const char **why);

/* What mark_totals and roots_stats_last say in the copy, and its processor time. */
struct snapshot_totals {
    struct mark_totals mark;
    struct roots_stats roots;
    uint64_t cpu_ns;
};

const struct snapshot_totals *snapshot_totals_last(void);

void snapshot_fork_child(void);

#endif
