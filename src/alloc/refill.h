/* refill.h -- when a fast path finds nothing: what malloc and gc_alloc share */
#ifndef GCALLOC_ALLOC_REFILL_H
#define GCALLOC_ALLOC_REFILL_H

#include "alloc/alloc.h"

struct request {
    size_t bytes;
    size_t alignment;           /* of a large object */
    unsigned span_class;        /* class 0 of its kind: large */
    bool zeroed;                /* out: a large object that is known to read as zero */
};

/* A slot or a large object, with all that an allocation may have to do for a cycle.  Not in the
 * runtime.  NULL: no memory. */
void *refill_and_allocate(struct request *request);
/* Frees what can be freed without a cycle: sweeps, and gives empty spans back.  In the runtime.  True:
 * there were some. */
bool refill_reclaim_spans(void);

#endif
