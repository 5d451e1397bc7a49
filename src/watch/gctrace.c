/* gctrace.c -- see gctrace.h
 *
 * The fields follow Go's, and mean here, where marking happens in the stop:
 *
 *     A+B+C ms clock      stopping (with what was left of the sweep), marking, restarting
 *     D+E/F/G+H ms cpu    D, H: A and C on all CPUs, as in Go; E, assists: none;
 *                         F: all markers; G, idle markers: none
 *     I->J->K MB          heap at the start, at the end of marking, found live
 */
#include "watch/gctrace.h"

#include "base/fmt.h"
#include "base/sys.h"
#include "watch/stats.h"

static const uint64_t NS_PER_US = 1000;
static const uint64_t NS_PER_MS = 1000000;

/* value / 10^decimals, all decimals printed. */
static size_t format_decimals(char *out, size_t bytes, uint64_t value, unsigned decimals)
{
    switch (decimals) {
    case 3: return fmt_format(out, bytes, "%lu.%03lu", value / 1000, value % 1000);
    case 2: return fmt_format(out, bytes, "%lu.%02lu", value / 100, value % 100);
    case 1: return fmt_format(out, bytes, "%lu.%lu", value / 10, value % 10);
    default: return fmt_format(out, bytes, "%lu", value);
    }
}

size_t gctrace_format_ms(char *out, size_t bytes, uint64_t ns)
{
    uint64_t value = ns / NS_PER_US;
    unsigned decimals = 3;

    if (ns >= 10 * NS_PER_MS)
        return format_decimals(out, bytes, ns / NS_PER_MS, 0);
    if (value == 0)
        return format_decimals(out, bytes, 0, 0);
    while (value >= 100) {
        value /= 10;
        decimals--;
    }
    return format_decimals(out, bytes, value, decimals);
}

struct milliseconds {
    char text[24];
};

static struct milliseconds ms(uint64_t ns)
{
    struct milliseconds result;

    gctrace_format_ms(result.text, sizeof result.text, ns);
    return result;
}

size_t gctrace_format(char *out, size_t bytes, const struct cycle_report *report,
                      const struct gctrace_context *context)
{
    if (report->abandoned != NULL)
        return fmt_format(out, bytes, "gc: cycle abandoned: %s\n", report->abandoned);
    uint64_t since_start = (report->start_ns - context->start_ns) / NS_PER_MS;
    size_t used = fmt_format(out, bytes, "gc %lu @%lu.%03lus %u%%: %s+%s+%s ms clock, ",
                             report->number, since_start / 1000, since_start % 1000,
                             context->cpu_percent, ms(report->stop_ns).text,
                             ms(report->mark_ns).text, ms(report->restart_ns).text);

    used += fmt_format(out + used, bytes - used, "%s+0/%s/0+%s ms cpu, ",
                       ms(report->stop_ns * context->cpus).text, ms(report->mark_cpu_ns).text,
                       ms(report->restart_ns * context->cpus).text);
    used += fmt_format(out + used, bytes - used,
                       "%lu->%lu->%lu MB, %lu MB goal, %lu MB stacks, %lu MB globals, %u P%s\n",
                       report->heap_before >> 20, report->heap_after_mark >> 20,
                       report->heap_live >> 20, report->goal >> 20, report->stack_bytes >> 20,
                       report->root_bytes >> 20, context->cpus,
                       report->forced ? " (forced)" : "");
    return used;
}

void gctrace_print(const struct cycle_report *report)
{
    struct gctrace_context context = stats_trace_context(report);
    char line[512];

    sys_write(2, line, gctrace_format(line, sizeof line, report, &context));
}
