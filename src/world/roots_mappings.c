/* roots_mappings.c -- the words in mappings; see roots_scan.h
 *
 * Private mappings: the pages that are their own (anonymous pages, also copies
 * made of a file's pages by a write), found by pagemap.  One call of PAGEMAP_SCAN
 * covers a span of many mappings.
 *
 * Shared memory: a page may hold data although our page table has no entry for
 * it (before the first touch after fork, or after it was reclaimed), so mincore
 * is asked, which looks into the page cache.  Without a page map private mappings are asked
 * for in the same way: then unchanged pages of files are read too.
 *
 * Second stop of a cycle that marked beside the program: private memory is taken in segments, which
 * are covered (roots_covered.c) or not.  In covered ones the kernel leaves out what was not
 * written.  A page that it leaves out is armed now, so nothing was written to it since it was
 * armed, and it was read after that: in this cycle, for it is covered.  Memory that was
 * mapped or moved there since is not registered, and listed as a whole.
 */
#include "base/bits.h"
#include "base/options.h"
#include "base/sys.h"
#include "os/host.h"
#include "os/vm.h"
#include "world/roots_scan.h"

/* A mapping that is not scanned ends a span of PAGEMAP_SCAN if it is larger: walking past its
 * page tables (2 ns a page) costs more than another call (1 us). */
#define SPAN_GAP_BYTES (2 * MIB)

/* Shared memory that was swapped out is found by reading everything, which fills holes with
 * memory; above this size the scan fails instead. */
#define SWAPPED_SHARED_LIMIT GIB

/* What was listed as present in an anonymous mapping stays readable while the world is stopped.
 * What was listed as swapped may be a guard page, and what is a copy of a file's page goes when
 * the file is truncated. */
static enum root_access access_of(const struct mapping *mapping, bool present)
{
    bool load = mapping->kind != MAPPING_FILE && present && mapping_is_readable(mapping);

    return load ? ACCESS_LOAD : roots_copy_access(mapping);
}

/* Hands over a range of pages, which may reach across mappings; *row is where to begin looking. */
static bool visit_range(struct roots_scan *scan, const struct page_range *range, size_t *row)
{
    const struct mapping *rows = scan->mappings.rows;

    while (*row < scan->mappings.count && rows[*row].high <= range->low)
        ++*row;
    for (size_t i = *row; i < scan->mappings.count && rows[i].low < range->high; i++) {
        uintptr_t low = max_size(rows[i].low, range->low);
        uintptr_t high = min_size(rows[i].high, range->high);

        if (mapping_is_private(&rows[i]) &&
            !roots_emit_labelled(scan, &rows[i], low, high,
                                 access_of(&rows[i], (range->flags & PAGE_PRESENT) != 0)))
            return false;
    }
    return true;
}

/* Consecutive private memory that is read in the same way. */
struct segment {
    uintptr_t low, high;
    size_t row;                     /* the mapping that it begins in */
    size_t end_row;                 /* the one that it ends in */
    bool covered;
    bool anonymous;                 /* no file in it: listing is cheaper */
};

/* An anonymous segment as large as this is listed by itself; smaller ones together with files. */
#define ANONYMOUS_BYTES ((size_t)512 << 10)

static long list_pages(struct roots_scan *scan, struct segment *segment, uintptr_t low,
                       uintptr_t *next)
{
    if (segment->covered) {
        long count = pagemap_changed(&scan->pagemap, low, segment->high, segment->anonymous,
                                     scan->ranges, ROOTS_RANGES, next);

        if (count >= 0 && *next > low)
            return count;
        segment->covered = false;       /* what is left is read as a whole */
    }
    return pagemap_list(&scan->pagemap, low, segment->high, scan->ranges, ROOTS_RANGES, next);
}

static bool visit_segment(struct roots_scan *scan, struct segment *segment)
{
    uintptr_t low = segment->low;
    size_t row = segment->row;

    if (segment->covered && options.mutate == 3)
        return true;
    while (low < segment->high) {
        uintptr_t next;
        long count = list_pages(scan, segment, low, &next);

        if (count < 0 || next <= low) {
            scan->why = "/proc/self/pagemap cannot be read";
            return false;
        }
        for (long i = 0; i < count; i++) {
            if (!visit_range(scan, &scan->ranges[i], &row))
                return false;
        }
        low = next;
    }
    return true;
}

/* The segment that begins at `low` in a private mapping.  Stacks are read as a whole: the running
 * walk has not read them as stacks. */
static struct segment segment_at(const struct roots_scan *scan, uintptr_t low, size_t row)
{
    const struct mapping *mapping = &scan->mappings.rows[row];
    struct segment segment = {
        .low = low, .high = mapping->high, .row = row, .end_row = row,
        .anonymous = mapping->kind == MAPPING_ANONYMOUS,
    };

    if (!scan->tracked || scan->pagemap.by_words)
        return segment;
    struct covered covered = roots_covered_from(low);
    size_t i = roots_first_cut(scan, low);
    const struct stack_cut *cut = i < scan->cut_count ? &scan->cuts[i] : NULL;

    if (cut != NULL && align_down(cut->low, VM_PAGE) <= low) {
        segment.high = min_size(segment.high, align_up(cut->high, VM_PAGE));
    } else if (covered.low > low) {
        segment.high = min_size(segment.high, covered.low);
    } else {
        segment.covered = true;
        segment.high = min_size(segment.high, covered.high);
        if (cut != NULL)
            segment.high = min_size(segment.high, align_down(cut->low, VM_PAGE));
    }
    return segment;
}

/* The segment after another (or the first one).  False: there is none. */
static bool next_segment(const struct roots_scan *scan, struct segment *segment)
{
    size_t row = segment->end_row;
    uintptr_t low = segment->high;

    while (row < scan->mappings.count && (!mapping_is_private(&scan->mappings.rows[row]) ||
                                          scan->mappings.rows[row].high <= low))
        row++;
    if (row == scan->mappings.count)
        return false;
    *segment = segment_at(scan, max_size(low, scan->mappings.rows[row].low), row);
    return true;
}

static bool is_large_anonymous(const struct segment *segment)
{
    return segment->covered && segment->anonymous &&
           segment->high - segment->low >= ANONYMOUS_BYTES;
}

/* Can one call list both?  A gap in the list of mappings may be the heap; one in the address
 * space costs nothing. */
static bool belong_together(const struct roots_scan *scan, const struct segment *a,
                            const struct segment *b)
{
    const struct mapping *rows = scan->mappings.rows;

    if (a->covered != b->covered || scan->pagemap.by_words ||
        (a->high <= scan->mappings.skip_high && scan->mappings.skip_low < b->low))
        return false;
    if (a->anonymous != b->anonymous && (is_large_anonymous(a) || is_large_anonymous(b)))
        return false;
    for (size_t i = a->end_row + 1; i < b->row; i++) {
        if (rows[i].high - rows[i].low > SPAN_GAP_BYTES)
            return false;
    }
    return true;
}

static bool visit_private(struct roots_scan *scan)
{
    struct segment next = { .low = 0 };
    bool more = next_segment(scan, &next);

    while (more) {
        struct segment segment = next;

        while ((more = next_segment(scan, &next)) && belong_together(scan, &segment, &next)) {
            segment.high = next.high;
            segment.anonymous = segment.anonymous && next.anonymous;
            segment.end_row = next.end_row;
        }
        if (!visit_segment(scan, &segment))
            return false;
    }
    return true;
}

/* Hands over the runs of resident pages among `pages` from low on; resident: a byte a page. */
static bool visit_resident(struct roots_scan *scan, const struct mapping *mapping, uintptr_t low,
                           const unsigned char *resident, size_t pages)
{
    enum root_access access = roots_copy_access(mapping);

    for (size_t i = 0; i < pages;) {
        size_t end = i;

        while (end < pages && (resident[end] & 1) != 0)
            end++;
        if (end > i && !roots_emit_labelled(scan, mapping, low + i * VM_PAGE, low + end * VM_PAGE,
                                            access))
            return false;
        i = end + 1;
    }
    return true;
}

/* Of a mapping of which nothing is swapped out. */
static bool visit_in_memory(struct roots_scan *scan, const struct mapping *mapping)
{
    unsigned char *resident = (unsigned char *)scan->scratch;
    uintptr_t low = mapping->low;

    while (low < mapping->high) {
        size_t pages = min_size((mapping->high - low) / VM_PAGE, PROC_SCRATCH_BYTES);
        long result = sys_call3(SYS_mincore, (long)low, (long)(pages * VM_PAGE), (long)resident);

        if (result != 0) {
            scan->why = "mincore failed";
            return false;
        }
        if (!visit_resident(scan, mapping, low, resident, pages))
            return false;
        low += pages * VM_PAGE;
    }
    return true;
}

/* That no swap is in use afterwards says that none was. */
bool roots_visit_by_residency(struct roots_scan *scan, const struct mapping *mapping)
{
    enum root_access access = roots_copy_access(mapping);

    if (!host_swap_in_use()) {
        if (!visit_in_memory(scan, mapping))
            return false;
        if (!host_swap_in_use())
            return true;
    }
    if (mapping->high - mapping->low <= SWAPPED_SHARED_LIMIT)
        return roots_emit_labelled(scan, mapping, mapping->low, mapping->high, access);
    scan->why = "a large mapping may be swapped out";
    return false;
}

bool roots_visit_mappings(struct roots_scan *scan)
{
    if (!scan->without_pagemap && !visit_private(scan))
        return false;
    for (size_t i = 0; i < scan->mappings.count; i++) {
        const struct mapping *mapping = &scan->mappings.rows[i];
        bool wanted = mapping->kind == MAPPING_MEMORY ||
                      (scan->without_pagemap && mapping_is_private(mapping));

        if (wanted && !roots_visit_by_residency(scan, mapping))
            return false;
    }
    return true;
}
