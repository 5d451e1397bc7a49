/* malloc_info.c -- glibc's questions about the heap, over our own numbers
 *
 * PURPOSE  mallinfo, mallinfo2, malloc_stats, malloc_info.  glibc's words mean here:
 *
 *     mmapped (hblks, hblkhd)   blocks above the largest size class
 *     arena                     everything else: spans of small blocks, and free page runs
 *     fast (smblks, fsmblks)    free blocks that wait in thread caches
 *     keepcost                  what malloc_trim could return: free pages that hold memory
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/fmt.h"
#include "watch/stats.h"

struct summary {
    size_t arena, used, free;           /* bytes; arena is the sum */
    size_t free_blocks, cached_blocks, cached_bytes;
    size_t large_blocks, large_bytes;
    size_t trimmable;
    size_t system;                      /* bytes ready in the heap, touched or not */
};

static void summarise(struct summary *out, const struct stats *stats)
{
    const struct census *census = &stats->census;
    const struct pages_stats *pages = &stats->pages;
    size_t free_slots = 0;

    for (unsigned c = 1; c < SIZE_CLASSES; c++)
        if (census->classes[c].slots > census->classes[c].live)
            free_slots += census->classes[c].slots - census->classes[c].live;
    out->cached_blocks = census_cached_objects(census);
    out->cached_bytes = census_cached_bytes(census);
    out->large_blocks = census->classes[0].live;
    out->large_bytes = census->large_bytes;
    out->free_blocks = free_slots + pages->free_runs;
    out->arena = census->small_bytes + (pages->free_pages << PAGE_SHIFT);
    size_t small = census_bytes(census) - census->large_bytes;

    out->used = small > out->cached_bytes ? small - out->cached_bytes : 0;
    out->free = out->arena > out->used ? out->arena - out->used : 0;
    out->trimmable = (pages->free_pages - pages->released_pages) << PAGE_SHIFT;
    out->system = pages->heap_pages << PAGE_SHIFT;
}

static void read_summary(struct summary *out)
{
    struct stats stats;

    stats_read(&stats);                 /* without memory: zeroes */
    summarise(out, &stats);
}

static struct mallinfo2 mallinfo_body(void)
{
    struct summary s;

    read_summary(&s);
    return (struct mallinfo2){
        .arena = s.arena,
        .ordblks = s.free_blocks,
        .smblks = s.cached_blocks,
        .hblks = s.large_blocks,
        .hblkhd = s.large_bytes,
        .fsmblks = s.cached_bytes,
        .uordblks = s.used,
        .fordblks = s.free,
        .keepcost = s.trimmable,
    };
}

/* The old structure has ints: they wrap, as glibc's do. */
static struct mallinfo mallinfo_old_body(void)
{
    struct mallinfo2 wide = mallinfo_body();

    return (struct mallinfo){
        .arena = (int)wide.arena,
        .ordblks = (int)wide.ordblks,
        .smblks = (int)wide.smblks,
        .hblks = (int)wide.hblks,
        .hblkhd = (int)wide.hblkhd,
        .fsmblks = (int)wide.fsmblks,
        .uordblks = (int)wide.uordblks,
        .fordblks = (int)wide.fordblks,
        .keepcost = (int)wide.keepcost,
    };
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    return mallinfo_body();
}

EXPORT struct mallinfo mallinfo(void)
{
    return mallinfo_old_body();
}

/* glibc's internal name, for old binaries. */
EXPORT struct mallinfo __libc_mallinfo(void);

struct mallinfo __libc_mallinfo(void)
{
    return mallinfo_old_body();
}

/* The lines of glibc, to stderr; written without stdio, which could allocate. */
EXPORT void malloc_stats(void)
{
    struct summary s;

    read_summary(&s);
    fmt_print(2, "Arena 0:\nsystem bytes     = %10lu\nin use bytes     = %10lu\n", s.arena, s.used);
    fmt_print(2,
              "Total (incl. mmap):\nsystem bytes     = %10lu\nin use bytes     = %10lu\n"
              "max mmap regions = %10lu\nmax mmap bytes   = %10lu\n",
              s.system, s.used + s.large_bytes, s.large_blocks, s.large_bytes);
}

/* One element per size class that has free blocks. */
static void print_sizes(FILE *stream, const struct census *census)
{
    char line[160];

    fputs("<sizes>\n", stream);
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        const struct class_census *class = &census->classes[c];
        size_t bytes = size_classes[c].slot_bytes;
        size_t count = class->slots > class->live ? class->slots - class->live : 0;

        if (count == 0)
            continue;
        fmt_format(line, sizeof line,
                   "  <size from=\"%lu\" to=\"%lu\" total=\"%lu\" count=\"%lu\"/>\n",
                   (size_t)size_classes[c - 1].slot_bytes + 1, bytes, count * bytes, count);
        fputs(line, stream);
    }
    fputs("</sizes>\n", stream);
}

static void print_total(FILE *stream, const char *type, size_t count, size_t bytes)
{
    char line[120];

    fmt_format(line, sizeof line, "<total type=\"%s\" count=\"%lu\" size=\"%lu\"/>\n", type, count,
               bytes);
    fputs(line, stream);
}

static void print_size(FILE *stream, const char *element, const char *type, size_t bytes)
{
    char line[120];

    fmt_format(line, sizeof line, "<%s type=\"%s\" size=\"%lu\"/>\n", element, type, bytes);
    fputs(line, stream);
}

static void print_totals(FILE *stream, const struct summary *s)
{
    print_total(stream, "fast", s->cached_blocks, s->cached_bytes);
    print_total(stream, "rest", s->free_blocks,
                s->free > s->cached_bytes ? s->free - s->cached_bytes : 0);
}

static void print_system(FILE *stream, const struct summary *s)
{
    print_size(stream, "system", "current", s->system);
    print_size(stream, "system", "max", s->system);
    print_size(stream, "aspace", "total", s->system);
    print_size(stream, "aspace", "mprotect", s->system);
}

/* glibc's document, with one heap, whatever the number of threads.  Returns the error. */
EXPORT int malloc_info(int malloc_options, FILE *stream)
{
    struct stats stats;
    struct summary summary;

    if (malloc_options != 0)
        return EINVAL;
    stats_read(&stats);                 /* without memory: zeroes */
    summarise(&summary, &stats);
    fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n", stream);
    print_sizes(stream, &stats.census);
    print_totals(stream, &summary);
    print_system(stream, &summary);
    fputs("</heap>\n", stream);
    print_totals(stream, &summary);
    print_total(stream, "mmap", summary.large_blocks, summary.large_bytes);
    print_system(stream, &summary);
    fputs("</malloc>\n", stream);
    return 0;
}
