/* roots_registered.c -- ranges that the program declared to be roots
 *
 * PURPOSE    A table of disjoint ranges, unordered.  It may cover what the walk
 *            over the mappings sees as well; what it is for is memory that the
 *            walk leaves out: blocks of the heap that nothing points to, shared
 *            files.
 * LOCKING    ROOTS; the world may stop while a thread waits for it, not while one
 *            holds it (its holders are inside the runtime), and the walk makes sure.
 * LIFETIME   An outgrown table is left behind (meta_alloc); they double.
 */
#include "base/bits.h"
#include "base/lock.h"
#include "heap/ceded.h"
#include "world/roots_scan.h"

static struct {
    struct lock lock;
    struct address_range *rows;         /* lock ROOTS, as all below */
    size_t count, capacity;
} table = { .lock = LOCK_INIT(ROOTS) };

static bool make_room(void)
{
    return meta_make_room(&table.rows, &table.capacity, table.count, 1, sizeof table.rows[0]);
}

/* Unites [low, high) with every range that it touches. */
static bool add_locked(uintptr_t low, uintptr_t high)
{
    size_t i = 0;

    if (!make_room())
        return false;
    while (i < table.count) {
        struct address_range *row = &table.rows[i];

        if (row->low > high || row->high < low) {
            i++;
            continue;
        }
        low = min_size(low, row->low);
        high = max_size(high, row->high);
        *row = table.rows[--table.count];
    }
    table.rows[table.count++] = (struct address_range){ low, high };
    return true;
}

bool roots_add(const void *low, const void *high)
{
    uintptr_t first = (uintptr_t)low, last = (uintptr_t)high;

    if (first >= last)
        return true;
    lock_acquire(&table.lock);
    bool added = add_locked(first, last);

    lock_release(&table.lock);
    return added;
}

/* Takes [low, high) out of row i, which it overlaps; false when nothing is left of the row. */
static bool cut_row(size_t i, uintptr_t low, uintptr_t high)
{
    struct address_range row = table.rows[i];

    if (low <= row.low && high >= row.high)
        return false;
    if (low > row.low && high < row.high) {
        if (!make_room())
            return true;        /* stays a root as a whole: nothing reachable is lost */
        table.rows[table.count++] = (struct address_range){ high, row.high };
    }
    if (low > row.low)
        table.rows[i].high = low;
    else
        table.rows[i].low = high;
    return true;
}

static void remove_locked(uintptr_t low, uintptr_t high)
{
    size_t i = 0;

    while (i < table.count) {
        bool apart = table.rows[i].low >= high || table.rows[i].high <= low;

        if (apart || cut_row(i, low, high))
            i++;
        else
            table.rows[i] = table.rows[--table.count];
    }
}

void roots_remove(const void *low, const void *high)
{
    if (low >= high)
        return;
    lock_acquire(&table.lock);
    remove_locked((uintptr_t)low, (uintptr_t)high);
    lock_release(&table.lock);
}

/* What is mapped no more is passed over: the program cannot reach it either. */
bool roots_visit_registered(struct roots_scan *scan)
{
    bool complete = true;

    if (!lock_try(&table.lock)) {
        scan->why = "a thread was stopped while it registered roots";
        return false;
    }
    for (size_t i = 0; complete && i < table.count; i++) {
        uintptr_t low = table.rows[i].low, high = table.rows[i].high;
        bool in_heap = arena_owns(low) && arena_owns(high - 1) && !ceded_touches(low, high);

        complete = roots_emit(scan, ROOT_DATA, low, high, in_heap ? ACCESS_LOAD : ACCESS_COPY);
    }
    lock_release(&table.lock);
    return complete;
}

/* The lock is not held while a range is read: that may take long, and its rows move. */
void roots_visit_registered_running(struct roots_scan *scan)
{
    for (size_t i = 0;; i++) {
        lock_acquire(&table.lock);
        bool ended = i >= table.count;
        struct address_range row = ended ? (struct address_range){ 0, 0 } : table.rows[i];

        lock_release(&table.lock);
        if (ended)
            return;
        roots_emit(scan, ROOT_DATA, row.low, row.high, ACCESS_COPY);
    }
}

void roots_fork_child(void)
{
    lock_reset(&table.lock);
    roots_cover_nothing();
    roots_running.held_visited = false;
}
