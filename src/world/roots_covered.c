/* roots_covered.c -- what was read while the program ran; see roots_scan.h
 *
 * PURPOSE    The stretches of private memory of which every page was read in this cycle, and
 *            armed before that where it is armed at all.  There the second stop need not read
 *            pages that are registered and were not written since.
 * OWNER      The task that runs the cycle.
 * LIFETIME   From roots_visit_running to the next one.  What there is no room for is not
 *            covered, and read in the stop.
 */
#include "heap/arena.h"
#include "world/roots_scan.h"

#define COVERED_ROWS ((size_t)8 * 1024)

static struct {
    struct covered *rows;               /* sorted, disjoint; some are empty */
    size_t count;
} table;

bool roots_covered_gather(void)
{
    if (table.rows == NULL)
        table.rows = meta_alloc(COVERED_ROWS * sizeof table.rows[0]);
    return table.rows != NULL;
}

void roots_cover_nothing(void)
{
    table.count = 0;
}

void roots_cover(uintptr_t low, uintptr_t high, bool code)
{
    struct covered *last = table.count > 0 ? &table.rows[table.count - 1] : NULL;

    if (low >= high || (last != NULL && low < last->high))
        return;
    if (last != NULL && last->high == low && last->code == code)
        last->high = high;
    else if (table.count < COVERED_ROWS)
        table.rows[table.count++] = (struct covered){ low, high, code };
}

/* Index of the first row that ends above the address. */
static size_t first_row(uintptr_t address)
{
    return FIRST_ABOVE(table.rows, table.count, address);
}

/* Makes two rows of row i.  False: no room. */
static bool split_row(size_t i, uintptr_t low, uintptr_t high)
{
    if (table.count == COVERED_ROWS)
        return false;
    for (size_t k = table.count++; k > i; k--)
        table.rows[k] = table.rows[k - 1];
    table.rows[i].high = low;
    table.rows[i + 1].low = high;
    return true;
}

void roots_uncover(uintptr_t low, uintptr_t high)
{
    for (size_t i = first_row(low); i < table.count && table.rows[i].low < high; i++) {
        struct covered *row = &table.rows[i];

        if (low > row->low && high < row->high && split_row(i, low, high))
            return;
        if (low > row->low && high >= row->high)
            row->high = low;
        else if (low <= row->low && high < row->high)
            row->low = high;
        else
            row->low = row->high;       /* all of it, or there was no room for two rows */
    }
}

struct covered roots_covered_from(uintptr_t address)
{
    size_t i = first_row(address);

    while (i < table.count && table.rows[i].low >= table.rows[i].high)
        i++;
    return i < table.count ? table.rows[i]
                           : (struct covered){ UINTPTR_MAX, UINTPTR_MAX, false };
}
