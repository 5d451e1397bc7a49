/* roots_stacks.c -- which parts of memory are stacks, and which parts of those are dead
 *
 * PURPOSE    From the stack pointers of the stopped tasks, a sorted list of cuts
 *            (roots_scan.h) by which the walk over the mappings labels what it
 *            hands over.  Nothing but [stack_low, sp) of a stack that its owner
 *            is running on is ever left out, and of it only what lies in the
 *            same mapping as sp.
 *
 * A stack pointer               cut
 *   in the thread's own stack   [stack_low, sp) dead, [sp, stack_high) stack
 *   elsewhere                   the mapping it lies in, and the known stack: all live
 *   in [stack], owner unknown   [mapping, sp) dead, [sp, mapping end) stack
 *   in the heap                 none: the block it points into is marked, and scanned whole
 *
 * A local array may serve as an alternate stack, or as a coroutine's.  Who runs on it has frames below, which
 * have been interrupted, or wait to be switched back to: then nothing is dead.
 *
 * Cuts that overlap were not understood (one coroutine's stack inside another's):
 * their union is live.
 */
#include "base/bits.h"
#include "heap/arena.h"
#include "world/roots_scan.h"

static struct mapping *find_mapping(struct roots_scan *scan, uintptr_t address)
{
    struct mapping *rows = scan->mappings.rows;
    size_t count = scan->mappings.count;
    size_t i = FIRST_ABOVE(rows, count, address);

    return i < count && rows[i].low <= address ? &rows[i] : NULL;
}

/* The mapping that holds the stack at sp, which has the red zone taken off: that may reach below a small
 * stack's mapping.  A shared file can hold one as well; it is made part of the walk then. */
static struct mapping *stack_mapping(struct roots_scan *scan, uintptr_t sp)
{
    struct mapping *mapping = find_mapping(scan, sp);

    if (mapping == NULL || !mapping_is_readable(mapping))
        mapping = find_mapping(scan, sp + RED_ZONE);
    if (mapping != NULL && mapping->kind == MAPPING_FOREIGN)
        mapping->kind = MAPPING_MEMORY;
    return mapping;
}

bool roots_add_cut(struct roots_scan *scan, uintptr_t low, uintptr_t live, uintptr_t high)
{
    if (scan->cut_count == scan->cut_capacity) {
        scan->why = "more stacks than there was room for";
        return false;
    }
    live = max_size(live, low);
    scan->cuts[scan->cut_count++] = (struct stack_cut){ low, live, high };
    return true;
}

/* May the stack pointer lie in a stack that is itself part of the thread's own? */
static bool may_be_inside(const struct thread *thread, uintptr_t sp)
{
    uintptr_t top = sp + RED_ZONE;

    return thread != NULL && (top - thread->alternate_stack <= thread->alternate_bytes ||
                              (thread->context_stack != 0 && top >= thread->context_stack));
}

/* A stack pointer outside its thread's known stack, if it has one. */
static bool cut_unknown_stack(struct roots_scan *scan, uintptr_t sp, bool inside)
{
    if (arena_owns(sp) || arena_owns(sp + RED_ZONE))
        return true;
    struct mapping *mapping = stack_mapping(scan, sp);

    if (mapping == NULL) {
        scan->why = "a stack pointer lies in no mapping";
        return false;
    }
    uintptr_t live = mapping->kind == MAPPING_MAIN_STACK && !inside ? sp : mapping->low;

    return roots_add_cut(scan, mapping->low, live, mapping->high);
}

/* The known stack of a thread.  live: where the live part begins. */
static bool cut_known_stack(struct roots_scan *scan, const struct thread *thread, uintptr_t live)
{
    uintptr_t low = thread->stack_low, high = thread->stack_high;

    if (arena_owns(high - 1))
        return roots_emit(scan, ROOT_STACK, max_size(live, low), high, ACCESS_LOAD);
    const struct mapping *mapping = stack_mapping(scan, live);

    if (mapping != NULL)
        low = max_size(low, mapping->low);
    else
        live = low;             /* cannot be; everything is live then */
    return roots_add_cut(scan, low, live, high);
}

static bool visit_task(struct roots_scan *scan, const struct stopped_task *task)
{
    const struct thread *thread = task->thread;
    uintptr_t sp = align_down(task->sp, sizeof(uintptr_t));
    bool known = thread != NULL && thread->stack_low != 0;
    bool inside = may_be_inside(thread, sp);
    bool home = known && sp + RED_ZONE > thread->stack_low && sp < thread->stack_high;

    if (task->frame_low < task->frame_high &&
        !roots_emit(scan, ROOT_STACK, task->frame_low, task->frame_high, ACCESS_LOAD))
        return false;
    if (arena_owns(sp) || arena_owns(sp + RED_ZONE)) {
        roots_emit_word(scan, ROOT_STACK, sp);
        roots_emit_word(scan, ROOT_STACK, sp + RED_ZONE);
    }
    if (home)
        return cut_known_stack(scan, thread, inside ? thread->stack_low : sp);
    if (known && !cut_known_stack(scan, thread, thread->stack_low))
        return false;
    return cut_unknown_stack(scan, sp, inside);
}

/* Shell sort by low address (gaps of Ciura, 2001): in place, no recursion. */
static void sort_cuts(struct stack_cut *cuts, size_t count)
{
    static const size_t gaps[] = { 8858, 3937, 1750, 701, 301, 132, 57, 23, 10, 4, 1 };

    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        for (size_t i = gaps[g]; i < count; i++) {
            struct stack_cut cut = cuts[i];
            size_t at = i;

            for (; at >= gaps[g] && cuts[at - gaps[g]].low > cut.low; at -= gaps[g])
                cuts[at] = cuts[at - gaps[g]];
            cuts[at] = cut;
        }
    }
}

/* Joins overlapping cuts.  The same stack twice keeps the lower of two stack pointers. */
static size_t merge_cuts(struct stack_cut *cuts, size_t count)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        struct stack_cut *last = used > 0 ? &cuts[used - 1] : NULL;

        if (last == NULL || cuts[i].low >= last->high) {
            cuts[used++] = cuts[i];
        } else if (last->low == cuts[i].low && last->high == cuts[i].high) {
            last->live = min_size(last->live, cuts[i].live);
        } else {
            last->live = last->low;
            last->high = max_size(last->high, cuts[i].high);
        }
    }
    return used;
}

void roots_order_cuts(struct roots_scan *scan)
{
    sort_cuts(scan->cuts, scan->cut_count);
    scan->cut_count = merge_cuts(scan->cuts, scan->cut_count);
}

bool roots_visit_tasks(struct roots_scan *scan)
{
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    scan->cut_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (!visit_task(scan, &tasks[i]))
            return false;
    }
    roots_order_cuts(scan);
    return true;
}
