/* gctrace.h -- one line per cycle, as Go prints it
 *
 * PURPOSE  Tools that read Go's GODEBUG=gctrace=1 read ours.  Runs on the collector's
 *          task: no libc, no allocation, one write that does not wait.
 */
#ifndef GCALLOC_WATCH_GCTRACE_H
#define GCALLOC_WATCH_GCTRACE_H

#include "gc/cycle.h"

/* What the line says beside the cycle; stats_trace_context has it. */
struct gctrace_context {
    uint64_t start_ns;          /* monotonic time of the start of the program */
    uint32_t cpu_percent;       /* of all CPU time since then, for collections */
    uint32_t cpus;
};

/* `gc 12 @3.104s 2%: 0.03+14+0.05 ms clock, 0.06+0/28/0+0.10 ms cpu, 64->71->40 MB,
 * 80 MB goal, 1 MB stacks, 2 MB globals, 2 P (forced) [userfaultfd]`, in one line with its end; of an
 * abandoned cycle `gc: cycle abandoned: why`.  Returns the length. */
size_t gctrace_format(char *out, size_t bytes, const struct cycle_report *report,
                      const struct gctrace_context *context);
/* The same to stderr; called before or after stats_note_cycle. */
void gctrace_print(const struct cycle_report *report);

/* Nanoseconds in milliseconds with Go's rounding: from 10 ms on whole ones, below that two
 * significant digits and at most three decimals.  Returns the length. */
size_t gctrace_format_ms(char *out, size_t bytes, uint64_t ns);

#endif
