/* bins.c -- see bins.h
 *
 * One bin per length below EXACT pages, then four per doubling; a bitmap says which are not empty.
 */
#include "heap/bins.h"

#include "base/check.h"

enum {
    EXACT = 64,
    BINS = EXACT + 4 * 28,
    LOOK = 32,                  /* runs of one bin looked at for the best fit */
};

/* All under HEAP. */
static AT_START struct span *bins[BINS];
static AT_START uint64_t bin_bitmap[(BINS + 63) / 64];

static unsigned bin_of(size_t pages)
{
    if (pages < EXACT)
        return (unsigned)pages;
    unsigned log = log2_floor(pages);

    return EXACT + (log - 6) * 4 + (unsigned)(pages >> (log - 2) & 3);
}

void bins_insert(struct span *run)
{
    unsigned bin = bin_of(run->pages);

    run->prev = NULL;
    run->next = bins[bin];
    if (run->next != NULL)
        run->next->prev = run;
    bins[bin] = run;
    bin_bitmap[bin / 64] |= 1ull << bin % 64;
}

void bins_remove(struct span *run)
{
    unsigned bin = bin_of(run->pages);

    if (run->prev != NULL)
        run->prev->next = run->next;
    else
        bins[bin] = run->next;
    if (run->next != NULL)
        run->next->prev = run->prev;
    if (bins[bin] == NULL)
        bin_bitmap[bin / 64] &= ~(1ull << bin % 64);
    run->next = run->prev = NULL;
}

/* The smallest of the first LOOK runs of a bin that have enough pages. */
static struct span *bin_best(unsigned bin, size_t pages, size_t align_bytes)
{
    struct span *best = NULL;
    int looked = 0;

    for (struct span *run = bins[bin]; run != NULL && looked < LOOK; run = run->next, looked++)
        if ((best == NULL || run->pages < best->pages) && run_place(run, pages, align_bytes) != 0)
            best = run;
    return best;
}

struct span *bins_find(size_t pages, size_t align_bytes)
{
    unsigned bin = bin_of(pages);

    for (unsigned word = bin / 64; word < sizeof bin_bitmap / sizeof bin_bitmap[0]; word++) {
        uint64_t candidates = bin_bitmap[word];
        if (word == bin / 64)
            candidates &= ~0ull << bin % 64;
        for (; candidates != 0; candidates &= candidates - 1) {
            struct span *run = bin_best(word * 64 + lowest_bit(candidates), pages, align_bytes);
            if (run != NULL)
                return run;
        }
    }
    return NULL;
}

/* The longest run is in the last bin that has any. */
size_t bins_largest(void)
{
    size_t largest = 0;

    for (unsigned bin = BINS; bin-- > 0 && largest == 0;)
        for (struct span *run = bins[bin]; run != NULL; run = run->next)
            largest = max_size(largest, run->pages);
    return largest;
}

void bins_each(void (*visit)(const struct span *run, void *argument), void *argument)
{
    for (unsigned bin = 0; bin < BINS; bin++)
        for (struct span *run = bins[bin]; run != NULL; run = run->next) {
            CHECK(bin_of(run->pages) == bin);
            visit(run, argument);
        }
}
