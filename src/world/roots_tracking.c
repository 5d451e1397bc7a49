/* roots_tracking.c -- which root mappings are tracked; see roots_scan.h
 *
 * PURPOSE    Registers private mappings that are worth it with the collector's userfaultfd, so that
 *            roots_visit_running can arm them.  While the program runs it is found out which those
 *            are, and in the first stop they are registered.
 * OWNER      The task that runs the cycle.
 * INVARIANT  What is registered are whole mappings, as they are in the stop.
 *            Registering a part would split it for good, and mremap works on one mapping
 *            only: the program's next one would fail.
 *
 * A registered mapping does not become one with a neighbour that is not, as it would without us.
 * So those that touch in the stop are registered all or none: a program that gives some pages
 * another protection for a while has one mapping again afterwards; one that maps some anew, from
 * the next cycle on.
 */
#include <errno.h>

#include "base/compiler.h"
#include "heap/arena.h"
#include "os/procmap.h"
#include "os/vm.h"
#include "world/roots_scan.h"

enum {
    GROUP_MAPPINGS = 256,               /* taken together: 0.1 ms in the stop */
    GROUPS = HOSTILE(64, 3),
    STOP_MAPPINGS = HOSTILE(64, 4),     /* looked at in one stop, but for those of the last group */
    REFUSED = 8,
};

/* Anonymous mappings that touch, or one of a file. */
struct group {
    uintptr_t low, high;
    size_t bytes;                       /* readable ones that are not registered */
};

static struct {
    struct group groups[GROUPS];        /* the largest ones first */
    size_t count;
    /* What the kernel does not register, so as not to try it in every cycle. */
    struct mapping_bounds refused[REFUSED];
    size_t refusals;
} wanted;

/* ------------------------------------------------------------------------ beside the program */

static bool was_refused(const struct mapping *mapping)
{
    for (size_t i = 0; i < REFUSED; i++) {
        if (wanted.refused[i].low == mapping->low && wanted.refused[i].high == mapping->high)
            return true;
    }
    return false;
}

/* Known by its first page. */
static bool is_registered(struct roots_scan *scan, const struct mapping *mapping)
{
    uintptr_t next;

    return pagemap_written(&scan->pagemap, mapping->low, mapping->low + VM_PAGE, false,
                           scan->ranges, 1, &next) != -EPERM;
}

static bool has_many_pages(struct roots_scan *scan, const struct mapping *mapping)
{
    uintptr_t next;

    if (mapping->high - mapping->low < TRACKED_PAGES * VM_PAGE)
        return false;
    scan->pagemap.page_limit = TRACKED_PAGES;
    long count = pagemap_list(&scan->pagemap, mapping->low, mapping->high, scan->ranges,
                              ROOTS_RANGES, &next);

    scan->pagemap.page_limit = 0;
    return roots_count_pages(scan->ranges, count) >= TRACKED_PAGES;
}

static void want_group(const struct group *group)
{
    size_t i = wanted.count < GROUPS ? wanted.count++ : GROUPS;

    for (; i > 0 && wanted.groups[i - 1].bytes < group->bytes; i--) {
        if (i < GROUPS)
            wanted.groups[i] = wanted.groups[i - 1];
    }
    if (i < GROUPS)
        wanted.groups[i] = *group;
}

/* Known stacks are read in the stop anyway. */
static bool is_stack(const struct roots_scan *scan, uintptr_t low, uintptr_t high)
{
    size_t i = roots_first_cut(scan, low);

    return i < scan->cut_count && scan->cuts[i].low <= low && scan->cuts[i].high >= high;
}

static bool is_candidate(const struct roots_scan *scan, const struct mapping *mapping)
{
    return mapping_is_private(mapping) && mapping->kind != MAPPING_MAIN_STACK &&
           !is_stack(scan, mapping->low, mapping->high);
}

/* Index of the first mapping after the group that begins with row i. */
static size_t group_end(const struct roots_scan *scan, size_t i)
{
    const struct mapping *rows = scan->mappings.rows;
    size_t end = i + 1;

    while (end < scan->mappings.count && end - i < GROUP_MAPPINGS &&
           rows[end].kind == MAPPING_ANONYMOUS && rows[end - 1].kind == MAPPING_ANONYMOUS &&
           rows[end].low == rows[end - 1].high && is_candidate(scan, &rows[end]))
        end++;
    return end;
}

static void consider(struct roots_scan *scan, size_t begin, size_t end)
{
    const struct mapping *rows = scan->mappings.rows;
    struct group group = { rows[begin].low, rows[end - 1].high, 0 };
    bool missing = false, worth_it = false;

    /* By itself: registered already, or not worth it.  So are most, and one question does for them. */
    if (end == begin + 1 && !has_many_pages(scan, &rows[begin]))
        return;
    for (size_t i = begin; i < end; i++) {
        if (is_registered(scan, &rows[i])) {
            worth_it = true;
        } else if (!was_refused(&rows[i])) {
            missing = true;
            group.bytes += mapping_is_readable(&rows[i]) ? rows[i].high - rows[i].low : 0;
            worth_it = worth_it || has_many_pages(scan, &rows[i]);
        }
    }
    if (missing && worth_it)
        want_group(&group);
}

static void find_groups(struct roots_scan *scan)
{
    size_t end;

    roots_find_stacks(scan);
    for (size_t i = 0; i < scan->mappings.count; i = end) {
        end = i + 1;
        if (!is_candidate(scan, &scan->mappings.rows[i]))
            continue;
        end = group_end(scan, i);
        consider(scan, i, end);
    }
}

static void look_away(void *context, enum root_kind kind, const uintptr_t *low,
                      const uintptr_t *high)
{
    (void)context;
    (void)kind;
    (void)low;
    (void)high;
}

bool roots_prepare_tracking(struct userfault *userfault)
{
    struct roots_scan scan;
    bool foreign = false;

    wanted.count = 0;
    if (userfault->fd < 0)
        return false;
    roots_scan_begin(&scan, look_away, NULL);
    roots_open_pagemap(&scan);
    if (!scan.without_pagemap && !scan.pagemap.by_words && roots_read_mappings(&scan, MAPPINGS_FOREIGN))
        find_groups(&scan);
    if (wanted.count > 0)
        roots_visit_held(&scan, true, userfault->fd, &foreign);
    if (foreign)                        /* what is registered the program cannot register */
        wanted.count = 0;
    roots_scan_end(&scan);
    return wanted.count > 0;
}

/* ------------------------------------------------------------------------ in the stop */

/* By questions, or else by lines. */
struct finder {
    struct procmap procmap;             /* -1: the table is read */
    struct roots_scan *scan;
};

static bool find_in_table(const struct mapping_table *table, uintptr_t address,
                          struct mapping_bounds *found)
{
    size_t i = FIRST_ABOVE(table->rows, table->count, address);

    if (i == table->count)
        return false;
    const struct mapping *row = &table->rows[i];

    *found = (struct mapping_bounds){
        .low = row->low, .high = row->high, .shared = !mapping_is_private(row),
        .anonymous = row->kind == MAPPING_ANONYMOUS,
    };
    return true;
}

static bool find_bounds(struct finder *finder, uintptr_t address, struct mapping_bounds *found)
{
    return finder->procmap.fd >= 0 ? procmap_find(&finder->procmap, address, found)
                                   : find_in_table(&finder->scan->mappings, address, found);
}

static void register_mapping(struct userfault *userfault, const struct mapping_bounds *bounds)
{
    if (!bounds->shared && userfault_register(userfault, bounds->low, bounds->high) == -EINVAL)
        wanted.refused[wanted.refusals++ % REFUSED] = *bounds;
}

/* May the mapping become one with another beside it? */
static bool may_join(const struct finder *finder, const struct mapping_bounds *bounds)
{
    bool ours = bounds->low < arena.end && bounds->high > arena.start;

    return bounds->anonymous && !ours && !is_stack(finder->scan, bounds->low, bounds->high);
}

/* Widens [*low, *high), a mapping, to all that touch it, as they are now.  Returns how many. */
static size_t find_touching(struct finder *finder, uintptr_t *low, uintptr_t *high)
{
    struct mapping_bounds other;
    size_t count = 1;

    for (; count < GROUP_MAPPINGS / 2 && find_bounds(finder, *low - 1, &other); count++) {
        if (other.high != *low || !may_join(finder, &other))
            break;
        *low = other.low;
    }
    for (; count < GROUP_MAPPINGS && find_bounds(finder, *high, &other); count++) {
        if (other.low != *high || !may_join(finder, &other))
            break;
        *high = other.high;
    }
    return count;
}

static void register_each(struct userfault *userfault, struct finder *finder, uintptr_t low,
                          uintptr_t high)
{
    struct mapping_bounds bounds;

    for (; low < high && find_bounds(finder, low, &bounds); low = bounds.high)
        register_mapping(userfault, &bounds);
}

/* Returns how many mappings were looked at. */
static size_t register_group(struct userfault *userfault, struct finder *finder,
                             const struct group *group)
{
    struct mapping_bounds first;
    size_t count = 0;

    for (uintptr_t at = group->low; at < group->high && count < GROUP_MAPPINGS;) {
        if (!find_bounds(finder, at, &first) || first.low >= group->high)
            break;
        uintptr_t low = first.low, high = first.high;

        if (!may_join(finder, &first)) {
            register_mapping(userfault, &first);
            count++;
        } else {
            count += find_touching(finder, &low, &high);
            if (userfault_register(userfault, low, high) != 0)
                register_each(userfault, finder, low, high);
        }
        at = high;
    }
    return count;
}

static void register_groups(struct userfault *userfault, struct finder *finder)
{
    size_t count = 0;

    for (size_t i = 0; i < wanted.count && count < STOP_MAPPINGS; i++)
        count += register_group(userfault, finder, &wanted.groups[i]);
}

void roots_register_stopped(struct userfault *userfault)
{
    struct roots_scan scan;
    struct finder finder = { .scan = &scan };

    if (wanted.count == 0)
        return;
    roots_scan_begin(&scan, look_away, NULL);
    roots_find_stacks(&scan);
    if (procmap_open(&finder.procmap) || roots_read_mappings(&scan, MAPPINGS_ALL))
        register_groups(userfault, &finder);
    procmap_close(&finder.procmap);
    roots_scan_end(&scan);
    wanted.count = 0;
}
