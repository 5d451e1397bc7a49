/* roots_running.c -- roots read beside the running program
 *
 * PURPOSE    Before the second stop of a cycle, all that will not have to be read in it.  The
 *            program may unmap, protect and truncate what is read at any time, so everything is
 *            copied by the kernel, and what cannot be read is left to the stop: it is not covered
 *            (roots_covered.c).
 * OWNER      The task that runs the cycle.
 * INVARIANT  A covered page was read after it was last armed.  So it is armed (or armed anew)
 *            first and read then, and is not covered any more when the reading fails.
 *
 * Nothing is covered when the program has a userfaultfd itself: its arming could
 * not be told from ours.
 */
#include "base/atomics.h"
#include "base/bits.h"
#include "base/options.h"
#include "base/park.h"
#include "heap/arena.h"
#include "os/vm.h"
#include "world/roots_scan.h"

/* Others wait with mmap while pages are armed (30 ns each): after so many they get their turn. */
#define ARM_PAGES ((size_t)4096)
#define PAUSE_NS 100000

struct roots_running roots_running;

struct running_walk {
    struct roots_scan scan;
    struct userfault *userfault;
    bool track;                     /* false: nothing is armed, and nothing covered */
    size_t armed;                   /* pages since the last pause */
};

/* ------------------------------------------------------------------------ copies */

static void emit_copy(struct roots_scan *scan, enum root_kind kind, size_t bytes)
{
    uintptr_t low = (uintptr_t)scan->bounce;

    roots_emit(scan, kind, low, low + bytes, ACCESS_LOAD);
}

/* What is read: a part of a mapping, or what is covered of it. */
struct source {
    uintptr_t low, high;
    bool code;
    bool forced;                    /* past PROT_NONE */
};

/* Visits a copy of what can be read; what cannot is not covered. */
static void read_pieces(struct roots_scan *scan, const struct source *source, uintptr_t low,
                        uintptr_t high)
{
    enum root_kind kind = source->code ? ROOT_CODE : ROOT_DATA;

    while (low < high) {
        size_t bytes = min_size(high - low, ROOTS_PIECE_BYTES);
        long got = source->forced ? remote_read_forced(&scan->remote, scan->bounce, low, bytes)
                                  : remote_read(&scan->remote, scan->bounce, low, bytes);

        got &= -(long)sizeof(uintptr_t);
        if (got > 0) {
            emit_copy(scan, kind, (size_t)got);
            low += (size_t)got - roots_overlap((size_t)got);
            continue;
        }
        uintptr_t page = align_down(low, VM_PAGE);

        low = got < 0 ? high : page + VM_PAGE;
        roots_uncover(page, low);
    }
}

static void read_range(struct roots_scan *scan, const struct source *source, uintptr_t low,
                       uintptr_t high)
{
    struct address_range range = { low, high };

    if (source->code)
        roots_widen_code(&range, source->low, source->high);
    read_pieces(scan, source, range.low, range.high);
}

/* ------------------------------------------------------------------------ private memory */

static void pause_between(size_t *pages, size_t more)
{
    *pages += more;
    if (*pages < ARM_PAGES)
        return;
    *pages = 0;
    park_for(PAUSE_NS);
}

/* Before [low, high), of which so many ranges have been listed, is read.  False: it cannot be covered. */
static bool prepare(struct running_walk *walk, uintptr_t low, uintptr_t high, long count, bool tracked)
{
    struct roots_scan *scan = &walk->scan;
    uint64_t flags = 0;

    if (!walk->track || scan->pagemap.by_words)
        return false;
    for (long i = 0; i < count; i++)
        flags |= scan->ranges[i].flags;
    if ((flags & PAGE_REGISTERED) == 0)
        return true;                    /* none of it will be before the next cycle: the stop reads it */
    /* It may have lost its registration in between, and have old marks (os/userfault.h).  The kernel takes
     * them up to the first mapping that is not registered. */
    if (userfault_disarm(walk->userfault, low, high) != 0)
        return false;
    /* What is not armed counts as written, what is not registered any more too. */
    if (tracked && pagemap_arm(&scan->pagemap, low, high) == 0)
        pause_between(&walk->armed, roots_count_pages(scan->ranges, count));
    return true;
}

/* Visits the pages in [low, high); false when they cannot be listed. */
static bool read_pages(struct roots_scan *scan, const struct source *source, uintptr_t low,
                       uintptr_t high)
{
    while (low < high) {
        uintptr_t next;
        long count = pagemap_list(&scan->pagemap, low, high, scan->ranges, ROOTS_RANGES, &next);

        if (count < 0 || next <= low)
            return false;
        for (long i = 0; i < count; i++)
            read_range(scan, source, scan->ranges[i].low, scan->ranges[i].high);
        low = next;
    }
    return true;
}

/* [low, high): a part of a private mapping that is no stack. */
static void visit_part(struct running_walk *walk, const struct mapping *mapping, uintptr_t low,
                       uintptr_t high)
{
    const struct source source = { low, high, mapping_is_code(mapping), !mapping_is_readable(mapping) };
    struct roots_scan *scan = &walk->scan;
    bool tracked = false;
    uintptr_t next;

    for (; low < high; low = next) {
        scan->pagemap.page_limit = ARM_PAGES;
        long count = pagemap_list(&scan->pagemap, low, high, scan->ranges, ROOTS_RANGES, &next);

        scan->pagemap.page_limit = 0;
        if (count < 0 || next <= low)
            return;
        tracked = tracked || roots_count_pages(scan->ranges, count) >= TRACKED_PAGES;
        if (prepare(walk, low, next, count, tracked))
            roots_cover(low, next, source.code);
        if (!read_pages(scan, &source, low, next))
            roots_uncover(low, next);
    }
}

static void visit_mapping(struct running_walk *walk, const struct mapping *mapping)
{
    const struct roots_scan *scan = &walk->scan;
    uintptr_t low = mapping->low;

    while (low < mapping->high) {
        size_t i = roots_first_cut(scan, low);
        const struct stack_cut *cut = i < scan->cut_count ? &scan->cuts[i] : NULL;
        uintptr_t end = cut != NULL ? min_size(mapping->high, cut->low) : mapping->high;

        if (low < end)
            visit_part(walk, mapping, low, end);
        low = cut != NULL ? cut->high : mapping->high;
    }
}

/* Those for which there is no room are read and tracked like other memory: the stop looks again
 * which are stacks. */
void roots_find_stacks(struct roots_scan *scan)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next) {
        uintptr_t low = load_relaxed(&thread->stack_low);
        uintptr_t high = load_relaxed(&thread->stack_high);

        if (load_acquire(&thread->tid) == 0 || low == 0 || low >= high || arena_owns(high - 1))
            continue;
        low = align_down(low, VM_PAGE);
        if (!roots_add_cut(scan, low, low, align_up(high, VM_PAGE)))
            break;
    }
    roots_order_cuts(scan);
}

static void visit_mappings(struct running_walk *walk)
{
    struct roots_scan *scan = &walk->scan;

    roots_find_stacks(scan);
    if (scan->without_pagemap || scan->pagemap.by_words)
        walk->track = false;
    for (size_t i = 0; i < scan->mappings.count; i++) {
        const struct mapping *mapping = &scan->mappings.rows[i];
        bool private = mapping_is_private(mapping);

        if (mapping->kind == MAPPING_MEMORY || (private && scan->without_pagemap))
            roots_visit_by_residency(scan, mapping);
        else if (private && mapping->kind != MAPPING_MAIN_STACK)
            visit_mapping(walk, mapping);
    }
}

void roots_visit_running(struct userfault *userfault, root_visitor visit, void *context)
{
    struct running_walk walk = { .userfault = userfault, .track = userfault->fd >= 0 };
    struct roots_scan *scan = &walk.scan;
    bool foreign;

    roots_cover_nothing();
    roots_scan_begin(scan, visit, context);
    roots_open_pagemap(scan);
    roots_running.held_visited = roots_visit_held(scan, true, userfault->fd, &foreign);
    if (foreign)
        walk.track = false;
    if (roots_read_mappings(scan, MAPPINGS_FOREIGN))
        visit_mappings(&walk);
    roots_visit_registered_running(scan);
    roots_scan_end(scan);
    roots_running.data_bytes = scan->stats.data_bytes;
}

/* ------------------------------------------------------------------------ written since */

static void visit_written(struct roots_scan *scan, const struct source *source)
{
    uintptr_t low = source->low, high = source->high;

    while (low < high) {
        uintptr_t next;
        long count = pagemap_rearm(&scan->pagemap, low, high, scan->ranges, ROOTS_RANGES, &next);

        if (count < 0 || next <= low) {
            roots_uncover(low, high);
            return;
        }
        for (long i = 0; i < count; i++)
            read_range(scan, source, scan->ranges[i].low, scan->ranges[i].high);
        low = next;
    }
}

/* What is covered and not registered is passed over: the stop reads it. */
size_t roots_visit_written(root_visitor visit, void *context)
{
    struct roots_scan scan;

    if (options.mutate == 3 || roots_covered_from(0).low == UINTPTR_MAX)
        return 0;
    roots_scan_begin(&scan, visit, context);
    roots_open_pagemap(&scan);
    for (uintptr_t at = 0;;) {
        const struct covered covered = roots_covered_from(at);
        const struct source source = { max_size(at, covered.low), covered.high, covered.code, false };

        if (covered.low == UINTPTR_MAX)
            break;
        visit_written(&scan, &source);
        at = covered.high;
    }
    roots_scan_end(&scan);
    return scan.stats.data_bytes;
}

/* ------------------------------------------------------------------------ after the marking */

/* What is not registered, or mapped no more, answers with an error: nothing is armed there. */
void roots_disarm(struct userfault *userfault)
{
    size_t pages = 0;

    for (uintptr_t at = 0;;) {
        const struct covered covered = roots_covered_from(at);
        uintptr_t low = max_size(at, covered.low);

        if (covered.low == UINTPTR_MAX)
            break;
        at = min_size(covered.high, low + ARM_PAGES * VM_PAGE);
        userfault_disarm(userfault, low, at);
        pause_between(&pages, (at - low) / VM_PAGE);
    }
}

/* ------------------------------------------------------------------------ stop 1 */

/* What is taken of a stack whose end is known only by its thread's word, or not at all. */
#define KNOWN_END_BYTES MIB
#define UNKNOWN_END_BYTES ((size_t)64 << 10)

/* Copies until the first page that cannot be read. */
static void copy_stack(struct roots_scan *scan, uintptr_t low, uintptr_t high)
{
    while (low < high) {
        size_t bytes = min_size(high - low, ROOTS_PIECE_BYTES);
        long got = remote_read(&scan->remote, scan->bounce, low, bytes);

        got &= -(long)sizeof(uintptr_t);
        if (got <= 0)
            return;
        emit_copy(scan, ROOT_STACK, (size_t)got);
        low += (size_t)got - roots_overlap((size_t)got);
    }
}

static void visit_stack(struct roots_scan *scan, const struct stopped_task *task)
{
    const struct thread *thread = task->thread;
    uintptr_t sp = align_down(task->sp, sizeof(uintptr_t));
    uintptr_t high = thread != NULL ? thread->stack_high : 0;

    if (task->frame_low < task->frame_high)
        roots_emit(scan, ROOT_STACK, task->frame_low, task->frame_high, ACCESS_LOAD);
    if (high != 0 && thread->stack_low != 0 && sp >= thread->stack_low && sp < high)
        roots_emit(scan, ROOT_STACK, sp, high, ACCESS_LOAD);
    else if (sp < high && high - sp <= KNOWN_END_BYTES)
        copy_stack(scan, sp, high);
    else
        copy_stack(scan, sp, sp + UNKNOWN_END_BYTES);
}

void roots_visit_stacks(root_visitor visit, void *context)
{
    struct roots_scan scan;
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    roots_scan_begin(&scan, visit, context);
    for (size_t i = 0; i < count; i++)
        visit_stack(&scan, &tasks[i]);
    roots_scan_end(&scan);
}
