/* stats.h -- the numbers: what every cycle did, and what the heap holds
 *
 * PURPOSE  Remembers the reports of cycles and puts them together with a census and
 *          the page heap's numbers: for gc_read_memstats, mallinfo, the gctrace line
 *          and the summary at exit.
 * LOCKING  stats_note_cycle and stats_note_goal: by whoever runs the cycle or sets the
 *          goal, one at a time each; they need no libc and take no lock.  Readers take a
 *          consistent copy by a sequence count.
 */
#ifndef GCALLOC_WATCH_STATS_H
#define GCALLOC_WATCH_STATS_H

#include "gc/cycle.h"
#include "gcalloc.h"
#include "heap/pages.h"
#include "watch/census.h"
#include "watch/gctrace.h"

/* First of all: notes when the program began. */
void stats_init(void);
/* Records the report of a cycle, abandoned or not.  Once per cycle, after the world was
 * restarted. */
void stats_note_cycle(const struct cycle_report *report);
/* The heap size at which the next cycle starts; UINT64_MAX: never.  Whenever it changes. */
void stats_note_goal(uint64_t goal);
/* For the gctrace line; counts the cycle in whether it was recorded yet or not. */
struct gctrace_context stats_trace_context(const struct cycle_report *report);

struct stats {
    struct census census;
    struct pages_stats pages;
};
/* Looks at the heap.  Not in the runtime; false when there is no memory to enter it. */
bool stats_read(struct stats *stats);
/* Puts it together with what is known of cycles. */
void stats_fill_memstats(const struct stats *stats, struct gc_memstats *out);

/* Compares what the floors count with what a walk finds; exact only when quiet: no other
 * thread, no cycle.  *what names the first number that differs. */
bool stats_recount(const char **what);

/* The summary of GCALLOC_STATS=1, to stderr. */
void stats_print_exit(void);

#endif
