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
 */
#include "base/bits.h"
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

static bool is_private(const struct mapping *mapping)
{
    return mapping->kind == MAPPING_ANONYMOUS || mapping->kind == MAPPING_MAIN_STACK ||
           mapping->kind == MAPPING_FILE;
}

/* What was listed as present in an anonymous mapping stays readable while the world is stopped.
 * What was listed as swapped may be a guard page, and what is a copy of a file's page goes when
 * the file is truncated. */
static enum root_access access_of(const struct mapping *mapping, bool present)
{
    if (!mapping->readable)
        return ACCESS_FORCED;
    return mapping->kind != MAPPING_FILE && present ? ACCESS_LOAD : ACCESS_COPY;
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

        if (is_private(&rows[i]) &&
            !roots_emit_labelled(scan, low, high, access_of(&rows[i], range->present != 0)))
            return false;
    }
    return true;
}

static bool visit_span(struct roots_scan *scan, uintptr_t low, uintptr_t high, size_t row)
{
    while (low < high) {
        uintptr_t next;
        long count = pagemap_list(&scan->pagemap, low, high, scan->ranges, ROOTS_RANGES, &next);

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

/* The end of the span that begins with the private mapping `first`; *row is left behind it. */
static uintptr_t span_end(const struct roots_scan *scan, size_t first, size_t *row)
{
    const struct mapping *rows = scan->mappings.rows;
    uintptr_t end = rows[first].high;
    size_t i = first + 1;

    *row = i;
    if (scan->pagemap.by_words)
        return end;
    for (; i < scan->mappings.count; i++) {
        if (is_private(&rows[i])) {
            /* A gap in the list may be the heap; one in the address space costs nothing, but
             * nobody can tell them apart here. */
            if (end <= scan->mappings.skip_low && scan->mappings.skip_low < rows[i].low)
                break;
            end = rows[i].high;
            *row = i + 1;
        } else if (rows[i].high - rows[i].low > SPAN_GAP_BYTES) {
            break;
        }
    }
    return end;
}

static bool visit_private(struct roots_scan *scan)
{
    size_t row = 0;

    while (row < scan->mappings.count) {
        size_t first = row;

        if (!is_private(&scan->mappings.rows[first])) {
            row++;
            continue;
        }
        uintptr_t end = span_end(scan, first, &row);

        if (!visit_span(scan, scan->mappings.rows[first].low, end, first))
            return false;
    }
    return true;
}

/* Hands over the runs of resident pages among `pages` from low on; resident: a byte a page. */
static bool visit_resident(struct roots_scan *scan, uintptr_t low, const unsigned char *resident,
                           size_t pages, enum root_access access)
{
    for (size_t i = 0; i < pages;) {
        size_t end = i;

        while (end < pages && (resident[end] & 1) != 0)
            end++;
        if (end > i && !roots_emit_labelled(scan, low + i * VM_PAGE, low + end * VM_PAGE, access))
            return false;
        i = end + 1;
    }
    return true;
}

static bool visit_by_residency(struct roots_scan *scan, const struct mapping *mapping)
{
    enum root_access access = mapping->readable ? ACCESS_COPY : ACCESS_FORCED;
    unsigned char *resident = (unsigned char *)scan->scratch;
    uintptr_t low = mapping->low;

    if (host_swap_in_use()) {
        if (mapping->high - low <= SWAPPED_SHARED_LIMIT)
            return roots_emit_labelled(scan, low, mapping->high, access);
        scan->why = "a large mapping may be swapped out";
        return false;
    }
    while (low < mapping->high) {
        size_t pages = min_size((mapping->high - low) / VM_PAGE, PROC_SCRATCH_BYTES);
        long result = sys_call3(SYS_mincore, (long)low, (long)(pages * VM_PAGE), (long)resident);

        if (result != 0) {
            scan->why = "mincore failed";
            return false;
        }
        if (!visit_resident(scan, low, resident, pages, access))
            return false;
        low += pages * VM_PAGE;
    }
    return true;
}

bool roots_visit_mappings(struct roots_scan *scan)
{
    if (!scan->without_pagemap && !visit_private(scan))
        return false;
    for (size_t i = 0; i < scan->mappings.count; i++) {
        const struct mapping *mapping = &scan->mappings.rows[i];
        bool wanted = mapping->kind == MAPPING_MEMORY ||
                      (scan->without_pagemap && is_private(mapping));

        if (wanted && !visit_by_residency(scan, mapping))
            return false;
    }
    return true;
}
