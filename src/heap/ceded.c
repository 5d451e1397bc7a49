/* ceded.c -- see ceded.h
 *
 * A sorted table of disjoint rows.
 */
#include "heap/ceded.h"

#include "base/lock.h"
#include "heap/span.h"
#include "os/vm.h"

uint32_t ceded_unloadable, ceded_count;
bool ceded_unknown;

static struct {
    struct lock lock;
    struct ceded *rows;         /* CEDED, as all below */
    size_t count, capacity;
} table = { .lock = LOCK_INIT(CEDED) };

/* Room for two more rows: what one change can add. */
static bool make_room(void)
{
    return meta_make_room(&table.rows, &table.capacity, table.count, 2, sizeof table.rows[0]);
}

/* Index of the first row that ends above the address. */
static size_t first_row(uintptr_t address)
{
    return FIRST_ABOVE(table.rows, table.count, address);
}

static void publish(void)
{
    uint32_t unloadable = 0;

    for (size_t i = 0; i < table.count; i++)
        unloadable += table.rows[i].how != CEDED_READABLE;
    store_relaxed(&ceded_unloadable, unloadable);
    store_relaxed(&ceded_count, (uint32_t)table.count);
}

static void insert_row(size_t at, struct ceded row)
{
    if (row.low >= row.high)
        return;
    for (size_t i = table.count++; i > at; i--)
        table.rows[i] = table.rows[i - 1];
    table.rows[at] = row;
}

static void delete_row(size_t at)
{
    table.count--;
    for (size_t i = at; i < table.count; i++)
        table.rows[i] = table.rows[i + 1];
}

/* Takes [low, high) out of row i; there is room for one more.  Returns the index of the first row
 * that ends above high. */
static size_t cut_row(size_t i, uintptr_t low, uintptr_t high)
{
    struct ceded left = table.rows[i], right = left;
    bool has_left = left.low < low;

    left.high = low;
    right.low = high;
    delete_row(i);
    insert_row(i, right);
    insert_row(i, left);
    return i + has_left;
}

/* Takes [low, high) out of all rows but those that are stronger than `most`. */
static void cut_rows(uintptr_t low, uintptr_t high, enum cession most)
{
    size_t i = first_row(low);

    while (i < table.count && table.rows[i].low < high) {
        bool cut = table.rows[i].how <= most;

        i = cut && make_room() ? cut_row(i, low, high) : i + 1;
    }
}

/* The strongest row that touches the range; CEDED_READABLE if there is none. */
static enum cession strongest(uintptr_t low, uintptr_t high)
{
    enum cession how = CEDED_READABLE;

    for (size_t i = first_row(low); i < table.count && table.rows[i].low < high; i++)
        how = max_size(how, table.rows[i].how);
    return how;
}

/* ------------------------------------------------------------------------ slots */

static void change_slot(struct span *span, uint32_t slot, bool cede)
{
    uint8_t *state = &span->slot_state[slot], expected = cede ? SLOT_OUT : SLOT_CEDED;

    if (!cas_acq_rel(state, &expected, cede ? SLOT_CEDED : SLOT_OUT) && cede &&
        expected == SLOT_CONDEMNED)
        cas_acq_rel(state, &expected, SLOT_CEDED);
}

static bool touches_row(uintptr_t low, uintptr_t high)
{
    size_t i = first_row(low);

    return i < table.count && table.rows[i].low < high;
}

/* The slots of one span that [low, high) touches.  One that is given back and lies in no other row is as
 * before; but a condemned one must go the slow way until the next sweep has looked at it. */
static void change_slots(struct span *span, uintptr_t low, uintptr_t high, bool cede)
{
    uint32_t first = low <= span->base ? 0 : span_slot_of(span, low - span->base);

    for (uint32_t slot = first; slot < span->slots; slot++) {
        uintptr_t begin = span_slot_address(span, slot), end = begin + span->slot_bytes;
        bool condemned = (load_relaxed(&span->bits[slot >> 6].condemned) >> (slot & 63) & 1) != 0;

        if (begin >= high)
            return;
        if (cede || (!condemned && !touches_row(begin, end)))
            change_slot(span, slot, cede);
    }
}

static void change_range(uintptr_t low, uintptr_t high, bool cede)
{
    uintptr_t at = max_size(low, arena.base);

    while (at < high && heap_contains(at)) {
        struct span *span = span_of(at);

        if (span == NULL || !span_in_use(span)) {
            at = align_down(at, PAGE_BYTES) + PAGE_BYTES;
            continue;
        }
        change_slots(span, at, high, cede);
        at = span->base + ((size_t)span->pages << PAGE_SHIFT);
    }
}

/* ------------------------------------------------------------------------ the table */

bool ceded_add(uintptr_t low, uintptr_t high, enum cession how)
{
    lock_acquire(&table.lock);
    bool room = make_room();

    if (room) {
        if (strongest(low, high) == CEDED_REPLACED)
            how = CEDED_REPLACED;       /* until it is freed, whatever the protection is */
        cut_rows(low, high, CEDED_REPLACED);
        insert_row(first_row(low), (struct ceded){ low, high, how });
        publish();
        change_range(low, high, true);
    } else {
        store_relaxed(&ceded_unknown, true);
    }
    lock_release(&table.lock);
    return room;
}

void ceded_take_back(uintptr_t low, uintptr_t high, enum cession most)
{
    lock_acquire(&table.lock);
    cut_rows(low, high, most);
    publish();
    change_range(low, high, false);
    lock_release(&table.lock);
}

bool ceded_touches(uintptr_t low, uintptr_t high)
{
    if (load_relaxed(&ceded_count) == 0)
        return false;
    lock_acquire(&table.lock);
    bool touches = touches_row(low, high);

    lock_release(&table.lock);
    return touches;
}

static bool renew(uintptr_t low, uintptr_t high)
{
    size_t i;

    while ((i = first_row(low)) < table.count && table.rows[i].low < high) {
        uintptr_t from = max_size(low, table.rows[i].low), to = min_size(high, table.rows[i].high);

        /* A page that is shared with another block stays as it is. */
        if (from % VM_PAGE != 0 || to % VM_PAGE != 0 || !make_room() ||
            !vm_renew((void *)from, to - from))
            return false;
        cut_row(i, from, to);
    }
    return true;
}

bool ceded_renew(uintptr_t low, uintptr_t high)
{
    lock_acquire(&table.lock);
    bool done = renew(low, high);

    publish();
    lock_release(&table.lock);
    return done;
}

/* ------------------------------------------------------------------------ for the collector */

void ceded_loadable(uintptr_t *low, uintptr_t *high)
{
    lock_acquire(&table.lock);
    for (size_t i = first_row(*low); i < table.count && table.rows[i].low < *high; i++) {
        const struct ceded *row = &table.rows[i];

        if (row->how == CEDED_READABLE)
            continue;
        if (row->low > *low) {
            *high = row->low;
            break;
        }
        *low = min_size(row->high, *high);
    }
    lock_release(&table.lock);
}

bool ceded_next_unloadable(uintptr_t *low, uintptr_t *high)
{
    bool found = false;

    if (load_relaxed(&ceded_unloadable) == 0 || *low >= *high)
        return false;
    lock_acquire(&table.lock);
    for (size_t i = first_row(*low); i < table.count && table.rows[i].low < *high && !found; i++) {
        found = table.rows[i].how != CEDED_READABLE;
        if (found) {
            *low = max_size(*low, table.rows[i].low);
            *high = min_size(*high, table.rows[i].high);
        }
    }
    lock_release(&table.lock);
    return found;
}

void ceded_fork_child(void)
{
    lock_reset(&table.lock);
}
