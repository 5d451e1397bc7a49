/* gctrace.c -- see gctrace.h
 *
 * The fields are Go's:
 *
 *     A+B+C ms clock      stop 1, marking beside the program, stop 2.  [stopped]: the time it took
 *                         to stop, nothing, and marking and starting again
 *     D+E/F/G+H ms cpu    D, H: A and C on all CPUs, as in Go; E, assists: not measured, 0;
 *                         F: all markers; G, idle markers: none
 *     I->J->K MB          heap at the start, at the end of marking, found live
 *     [method]            userfaultfd, snapshot or stopped
 */
#include "watch/gctrace.h"

#include "base/check.h"
#include "base/fmt.h"
#include "base/options.h"
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

static const char *const method_names[] = {
    [METHOD_USERFAULT] = "userfaultfd", [METHOD_SNAPSHOT] = "snapshot", [METHOD_STOPPED] = "stopped",
};

size_t gctrace_format(char *out, size_t bytes, const struct cycle_report *report,
                      const struct gctrace_context *context)
{
    if (report->abandoned != NULL)
        return fmt_format(out, bytes, "gc: cycle abandoned: %s\n", report->abandoned);
    uint64_t since_start = (report->start_ns - context->start_ns) / NS_PER_MS;
    size_t used = fmt_format(out, bytes, "gc %lu @%lu.%03lus %u%%: %s+%s+%s ms clock, ",
                             report->number, since_start / 1000, since_start % 1000,
                             context->cpu_percent, ms(report->setup_ns).text,
                             ms(report->concurrent_ns).text, ms(report->termination_ns).text);

    used += fmt_format(out + used, bytes - used, "%s+0/%s/0+%s ms cpu, ",
                       ms(report->setup_ns * context->cpus).text, ms(report->mark_cpu_ns).text,
                       ms(report->termination_ns * context->cpus).text);
    used += fmt_format(out + used, bytes - used,
                       "%lu->%lu->%lu MB, %lu MB goal, %lu MB stacks, %lu MB globals, %u P%s%s [%s]\n",
                       report->heap_before >> 20, report->heap_after_mark >> 20,
                       report->heap_live >> 20, report->goal >> 20, report->stack_bytes >> 20,
                       report->root_bytes >> 20, context->cpus,
                       report->forced ? " (forced)" : report->fruitless ? " (fruitless)" : "",
                       report->spared ? " (spared)" : "",
                       method_names[report->method]);
    return used;
}

/* The second line of gctrace=2. */
static size_t format_details(char *out, size_t bytes, const struct cycle_report *report)
{
    size_t used = fmt_format(out, bytes, "gc %lu: %u stops,", report->number, report->stops);

    for (uint32_t i = 0; i < report->stops; i++)
        used += fmt_format(out + used, bytes - used, " %s", ms(report->stop_ns[i]).text);
    return used +
           fmt_format(out + used, bytes - used,
                      " ms; %lu KB scanned, of them %lu by assists; "
                      "dirty pages: %lu precleaned, %lu in stop 2, writers slowed by %s ms; %lu KB kept, %lu "
                      "rescans\n",
                      report->scanned_bytes >> 10, report->assist_bytes >> 10,
                      report->precleaned_pages, report->stopped_pages, ms(report->pressure_ns).text,
                      report->kept_bytes >> 10, report->rescans);
}

/* A line that does not find room at once is lost, and counted: threads wait for the cycle to end,
 * maybe the one that reads the pipe. */
static void print_or_drop(const char *line, size_t bytes)
{
    static uint64_t dropped;    /* of whoever runs cycles */
    char note[64];

    if (dropped != 0) {
        size_t length = fmt_format(note, sizeof note, "gc: %lu lines lost: no room\n", dropped);

        if (error_try_write(note, length, 0))
            dropped = 0;
    }
    if (dropped != 0 || !error_try_write(line, bytes, 0))
        dropped++;
}

void gctrace_print(const struct cycle_report *report)
{
    struct gctrace_context context = stats_trace_context(report);
    char line[512];

    print_or_drop(line, gctrace_format(line, sizeof line, report, &context));
    if (options.gctrace == 2 && report->abandoned == NULL)
        print_or_drop(line, format_details(line, sizeof line, report));
}
