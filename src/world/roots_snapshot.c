/* roots_snapshot.c -- see roots_snapshot.h
 *
 * Which memory a clone leaves out only smaps tells, which takes long (20 ns a page); so the copy
 * reads its own, beside the program.  What it finds missing there fails that cycle, and is scanned
 * in the stop from then on.
 */
#include "world/roots_snapshot.h"

#include "base/bits.h"
#include "heap/arena.h"
#include "os/proc_lines.h"
#include "world/roots_scan.h"

#define UNCOPIED_MOST (64 * MIB)

static struct {
    struct uncopied known;
    const struct mapping *rows;     /* of the process that was copied, in the stop */
    size_t count;
} snapshot;

/* ------------------------------------------------------------------------ before the copy */

static bool visit_shared(struct roots_scan *scan)
{
    for (size_t i = 0; i < scan->mappings.count; i++) {
        const struct mapping *mapping = &scan->mappings.rows[i];

        if (mapping->kind == MAPPING_MEMORY && !roots_visit_by_residency(scan, mapping))
            return false;
    }
    return true;
}

/* What of the range is private memory now. */
static bool visit_known_range(struct roots_scan *scan, uintptr_t low, uintptr_t high)
{
    for (size_t i = 0; i < scan->mappings.count && scan->mappings.rows[i].low < high; i++) {
        const struct mapping *mapping = &scan->mappings.rows[i];

        if (mapping->high <= low || !mapping_is_private(mapping))
            continue;
        if (!roots_emit_labelled(scan, mapping, max_size(low, mapping->low),
                                 min_size(high, mapping->high), roots_copy_access(mapping)))
            return false;
    }
    return true;
}

static bool visit_known(struct roots_scan *scan)
{
    for (uint32_t i = 0; i < snapshot.known.count; i++)
        if (!visit_known_range(scan, snapshot.known.ranges[i].low, snapshot.known.ranges[i].high))
            return false;
    return true;
}

static bool visit_held(struct roots_scan *scan)
{
    bool foreign;

    if (!roots_visit_held(scan, false, -1, &foreign))
        return false;
    if (foreign)
        scan->why = "the program has a userfaultfd";
    return !foreign;
}

bool roots_visit_uncopied(root_visitor visit, void *context, const char **why)
{
    struct roots_scan scan;

    roots_scan_begin(&scan, visit, context);
    bool complete = roots_read_mappings(&scan, MAPPINGS_ROOTS) && roots_visit_tasks(&scan) &&
                    visit_held(&scan) && visit_shared(&scan) && visit_known(&scan) &&
                    roots_visit_registered(&scan);

    snapshot.rows = scan.mappings.rows;
    snapshot.count = scan.mappings.count;
    roots_scan_end(&scan);
    *why = complete ? NULL : scan.why;
    return complete;
}

/* ------------------------------------------------------------------------ in the copy */

static bool is_known(uintptr_t low, uintptr_t high)
{
    for (uint32_t i = 0; i < snapshot.known.count; i++)
        if (snapshot.known.ranges[i].low <= low && high <= snapshot.known.ranges[i].high)
            return true;
    return false;
}

static void add_range(struct uncopied *to, uintptr_t low, uintptr_t high)
{
    if (to->count == UNCOPIED_RANGES) {
        to->too_much = true;
        return;
    }
    to->ranges[to->count].low = low;
    to->ranges[to->count++].high = high;
}

/* [low, high) does not hold what it held: nothing is mapped, or it was wiped. */
static void note_missing(struct uncopied *found, uintptr_t low, uintptr_t high)
{
    uintptr_t heap = arena.base, heap_end = heap + load_relaxed(&arena.bytes);

    if (low < heap_end && high > heap)
        found->too_much = true;
    for (size_t i = 0; i < snapshot.count && snapshot.rows[i].low < high; i++) {
        const struct mapping *row = &snapshot.rows[i];
        uintptr_t from = max_size(low, row->low), to = min_size(high, row->high);

        if (from < to && mapping_is_private(row) && !is_known(from, to))
            add_range(found, from, to);
    }
}

static bool is_wiped(const char *flags)
{
    for (; flags[0] != 0; flags++)
        if (flags[0] == ' ' && flags[1] == 'w' && flags[2] == 'f')
            return true;
    return false;
}

/* A line that begins with a number is a mapping's; what is said of it follows. */
static void check_lines(struct lines *lines, struct uncopied *found)
{
    uintptr_t low = 0, high = 0;
    const char *line, *rest;

    while ((line = lines_next(lines)) != NULL) {
        if ((rest = after_prefix(line, "VmFlags:")) != NULL) {
            if (is_wiped(rest))
                note_missing(found, low, high);
        } else if (*line < 'A' || *line > 'Z') {
            low = parse_hex(&line);
            line++;                 /* the dash */
            if (high < low)
                note_missing(found, high, low);
            high = parse_hex(&line);
        }
    }
    note_missing(found, high, UINTPTR_MAX);
}

/* Kernels can be built without smaps; then what was wiped is not found out. */
bool roots_check_copied(struct uncopied *found)
{
    struct roots_scan scan;
    struct lines lines;

    *found = (struct uncopied){ .count = 0 };
    roots_scan_begin(&scan, NULL, NULL);
    bool open = lines_open(&lines, "/proc/thread-self/smaps", scan.scratch, PROC_SCRATCH_BYTES) ||
                lines_open(&lines, "/proc/thread-self/maps", scan.scratch, PROC_SCRATCH_BYTES);

    if (open)
        check_lines(&lines, found);
    bool read = open && !lines.failed;

    if (open)
        lines_close(&lines);
    roots_scan_end(&scan);
    return read && found->count == 0 && !found->too_much;
}

bool roots_note_uncopied(const struct uncopied *found)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < found->count; i++)
        add_range(&snapshot.known, found->ranges[i].low, found->ranges[i].high);
    for (uint32_t i = 0; i < snapshot.known.count; i++)
        bytes += snapshot.known.ranges[i].high - snapshot.known.ranges[i].low;
    return !found->too_much && !snapshot.known.too_much && bytes <= UNCOPIED_MOST;
}
