/* roots_scan.h -- one walk over the roots; private to roots*.c
 *
 * PURPOSE    What the files roots*.c share.
 * OWNER      The task that runs the cycle.
 */
#ifndef GCALLOC_WORLD_ROOTS_SCAN_H
#define GCALLOC_WORLD_ROOTS_SCAN_H

#include "os/pagemap.h"
#include "os/proc.h"
#include "os/remote.h"
#include "os/vm.h"
#include "world/roots.h"

/* A piece handed to the visitor, and the buffer that copies go through. */
#define ROOTS_PIECE_BYTES ((size_t)128 << 10)
#define ROOTS_RANGES 2048

/* What is known of a stretch of addresses that holds a stack: [low, live) is below every stack
 * pointer and dead, [live, high) is scanned as ROOT_STACK. */
struct stack_cut { uintptr_t low, live, high; };

struct address_range { uintptr_t low, high; };

/* Private memory that was read while the program ran. */
struct covered {
    uintptr_t low, high;
    bool code;                      /* read as ROOT_CODE */
};

struct roots_scan {
    root_visitor visit;
    void *context;
    const char *why;                /* set when something fails */
    struct mapping_table mappings;  /* until they are read: as they were last time */
    struct stack_cut *cuts;         /* sorted, disjoint */
    size_t cut_capacity, cut_count;
    struct page_range *ranges;      /* ROOTS_RANGES of them */
    char *scratch;                  /* PROC_SCRATCH_BYTES */
    uintptr_t *bounce;              /* ROOTS_PIECE_BYTES */
    struct pagemap pagemap;
    bool without_pagemap;
    bool tracked;                   /* what is covered and was not written since is left out */
    bool lasting;                   /* what waits in pipes is left out */
    uint32_t keys;                  /* host_open_keys */
    struct remote remote;
    struct roots_stats stats;
};

/* Takes the buffers, and what every walk needs. */
void roots_scan_begin(struct roots_scan *scan, root_visitor visit, void *context);
void roots_scan_end(struct roots_scan *scan);
void roots_open_pagemap(struct roots_scan *scan);

enum which_mappings {
    MAPPINGS_ALL,
    MAPPINGS_FOREIGN,       /* the heap and metadata are left out, mappings that reach into them cut off */
    MAPPINGS_ROOTS,         /* the same, but with what the program has taken of the heap (heap/ceded.h) */
};

/* False: scan->why says what failed.  Whether all of the heap can be read is for the caller to see, in
 * mappings.watched_unreadable. */
bool roots_read_mappings(struct roots_scan *scan, enum which_mappings which);

/* How the words of a range are read. */
enum root_access {
    ACCESS_LOAD,            /* in place: a load cannot fail */
    ACCESS_COPY,            /* copied by the kernel; pages that the program could not read either
                             * are passed over */
    ACCESS_FORCED,          /* the same, past PROT_NONE; what cannot be read fails the scan */
};

/* Of what may not be loaded from. */
INLINE enum root_access roots_copy_access(const struct mapping *mapping)
{
    return mapping_is_readable(mapping) ? ACCESS_COPY : ACCESS_FORCED;
}

/* Hands over the words of [low, high). */
bool roots_emit(struct roots_scan *scan, enum root_kind kind, uintptr_t low, uintptr_t high,
                enum root_access access);
/* The same of a part of a mapping, labelled by the stack cuts: ROOT_STACK, nothing, or what the
 * mapping holds. */
bool roots_emit_labelled(struct roots_scan *scan, const struct mapping *mapping, uintptr_t low,
                         uintptr_t high, enum root_access access);
void roots_emit_word(struct roots_scan *scan, enum root_kind kind, uintptr_t word);

/* Builds the cuts from the stopped tasks and hands over what does not lie in a scanned mapping:
 * saved registers, stacks inside the heap. */
bool roots_visit_tasks(struct roots_scan *scan);
/* Everything in mappings; the cuts are there. */
bool roots_visit_mappings(struct roots_scan *scan);
/* The same, of one mapping: every page in memory or swapped out, whoever shares it. */
bool roots_visit_by_residency(struct roots_scan *scan, const struct mapping *mapping);
void roots_visit_alternate_stacks(struct roots_scan *scan);
/* Epoll data, timers, pipes.  userfault: the caller's own descriptor of that kind, -1: none.
 * *foreign: the program tracks memory itself. */
bool roots_visit_held(struct roots_scan *scan, bool running, int userfault, bool *foreign);
bool roots_visit_registered(struct roots_scan *scan);
/* The same while the program runs. */
void roots_visit_registered_running(struct roots_scan *scan);

INLINE bool mapping_is_private(const struct mapping *mapping)
{
    return mapping->kind == MAPPING_ANONYMOUS || mapping->kind == MAPPING_MAIN_STACK ||
           mapping->kind == MAPPING_FILE;
}

/* Anonymous memory that may be executed holds what the program itself compiled. */
INLINE bool mapping_is_code(const struct mapping *mapping)
{
    return (mapping->protection & PROT_EXEC) != 0 &&
           (mapping->kind == MAPPING_ANONYMOUS || mapping->kind == MAPPING_MEMORY);
}

/* By how much the next piece begins before the end of a whole one: a word may stand across it. */
INLINE size_t roots_overlap(size_t piece)
{
    return piece == ROOTS_PIECE_BYTES ? sizeof(uintptr_t) : 0;
}

/* An address may stand across an end of [range->low, range->high), in the memory [low, high). */
INLINE void roots_widen_code(struct address_range *range, uintptr_t low, uintptr_t high)
{
    if (range->low > low)
        range->low -= sizeof(uintptr_t);
    if (range->high < high)
        range->high += sizeof(uintptr_t);
}

/* A mapping with fewer pages of its own is read anew in the stop: that costs less than arming,
 * and the program's faults. */
#define TRACKED_PAGES 4

/* Makes cuts of the known stacks, whole pages, while the program runs. */
void roots_find_stacks(struct roots_scan *scan);

INLINE size_t roots_count_pages(const struct page_range *ranges, long count)
{
    size_t pages = 0;

    for (long i = 0; i < count; i++)
        pages += (ranges[i].high - ranges[i].low) / VM_PAGE;
    return pages;
}

/* Index of the first cut that ends above the address. */
size_t roots_first_cut(const struct roots_scan *scan, uintptr_t address);
bool roots_add_cut(struct roots_scan *scan, uintptr_t low, uintptr_t live, uintptr_t high);
/* Makes the cuts sorted and disjoint. */
void roots_order_cuts(struct roots_scan *scan);

/* What the running walk has done in this cycle, for the stop. */
struct roots_running {
    bool held_visited;              /* epoll data, timers, pipes */
    size_t data_bytes;
};

extern struct roots_running roots_running;  /* written by the task that runs the cycle */

/* The stretches that were read while the program ran; see roots_covered.c. */
bool roots_covered_gather(void);
void roots_cover_nothing(void);
void roots_cover(uintptr_t low, uintptr_t high, bool code);     /* in ascending order */
void roots_uncover(uintptr_t low, uintptr_t high);
/* The first that ends above the address; above all addresses when there is none. */
struct covered roots_covered_from(uintptr_t address);

#endif
