/* census.h -- counts every span by looking at it
 *
 * PURPOSE  What the heap holds now, from the spans themselves, and the
 *          slow recount that the counters kept by the fast floors must agree with.
 * LOCKING  None: spans are type-stable and read racily.  Exact while nobody else
 *          allocates or frees and no sweep is going on.
 */
#ifndef GCALLOC_WATCH_CENSUS_H
#define GCALLOC_WATCH_CENSUS_H

#include "heap/span.h"

struct class_census {
    uint64_t spans;
    uint64_t slots;             /* capacity of these spans */
    uint64_t live;              /* slots that are not free, by the spans' counters */
    uint64_t objects;           /* the same, recounted from the bits */
    uint64_t cached;            /* of these, in a thread's magazine */
};

struct census {
    struct class_census classes[SIZE_CLASSES];      /* all kinds together; [0]: large objects */
    uint64_t large_bytes;       /* of the runs of large objects */
    uint64_t small_bytes;       /* of the runs of small slots */
    uint64_t condemned_bytes;   /* malloc blocks found unreachable once */
    uint64_t header_bytes, header_bytes_inuse;
    uint64_t allocated, flushed;        /* counters of all thread caches: blocks */
    uint64_t allocated_bytes;
    uint64_t class_refilled[SIZE_CLASSES];
    uint64_t refills, flushes, foreign_frees, merges, filed;    /* see heap/mcache.h */
    uint32_t threads, thread_structures;
};

/* Walks the span table and the thread list. */
void census_take(struct census *census);

/* Sums over classes; [0] counts. */
uint64_t census_objects(const struct census *census);
uint64_t census_bytes(const struct census *census);
uint64_t census_cached_objects(const struct census *census);
uint64_t census_cached_bytes(const struct census *census);

#endif
