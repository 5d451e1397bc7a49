/* roots_scan.h -- one walk over the roots; private to roots*.c
 *
 * PURPOSE    What roots.c, roots_stacks.c, roots_mappings.c and roots_kernel.c
 *            share while the world is stopped.
 * OWNER      The task that called roots_visit.
 */
#ifndef GCALLOC_WORLD_ROOTS_SCAN_H
#define GCALLOC_WORLD_ROOTS_SCAN_H

#include "os/pagemap.h"
#include "os/proc.h"
#include "os/remote.h"
#include "world/roots.h"

/* A piece handed to the visitor, and the buffer that copies go through. */
#define ROOTS_PIECE_BYTES ((size_t)128 << 10)
#define ROOTS_RANGES 2048

/* What is known of a stretch of addresses that holds a stack: [low, live) is below every stack
 * pointer and dead, [live, high) is scanned as ROOT_STACK. */
struct stack_cut { uintptr_t low, live, high; };

struct roots_scan {
    root_visitor visit;
    void *context;
    const char *why;                /* set when something fails */
    struct mapping_table mappings;
    struct stack_cut *cuts;         /* sorted, disjoint */
    size_t cut_capacity, cut_count;
    struct page_range *ranges;      /* ROOTS_RANGES of them */
    char *scratch;                  /* PROC_SCRATCH_BYTES */
    uintptr_t *bounce;              /* ROOTS_PIECE_BYTES */
    struct pagemap pagemap;
    bool without_pagemap;
    struct remote remote;
    struct roots_stats stats;
};

/* How the words of a range are read. */
enum root_access {
    ACCESS_LOAD,            /* in place: a load cannot fail */
    ACCESS_COPY,            /* copied by the kernel; pages that the program could not read either
                             * are passed over */
    ACCESS_FORCED,          /* the same, past PROT_NONE; what cannot be read fails the scan */
};

/* Hands over the words of [low, high). */
bool roots_emit(struct roots_scan *scan, enum root_kind kind, uintptr_t low, uintptr_t high,
                enum root_access access);
/* The same, labelled by the stack cuts: ROOT_STACK, ROOT_DATA, or nothing. */
bool roots_emit_labelled(struct roots_scan *scan, uintptr_t low, uintptr_t high,
                         enum root_access access);
void roots_emit_word(struct roots_scan *scan, enum root_kind kind, uintptr_t word);

/* Builds the cuts from the stopped tasks and hands over what does not lie in a scanned mapping:
 * saved registers, stacks inside the heap. */
bool roots_visit_tasks(struct roots_scan *scan);
/* Everything in mappings; the cuts are there. */
bool roots_visit_mappings(struct roots_scan *scan);
bool roots_visit_kernel(struct roots_scan *scan);
bool roots_visit_registered(struct roots_scan *scan);

#endif
