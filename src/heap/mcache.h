/* mcache.h -- one thread's free slots
 *
 * PURPOSE    Per span class a magazine: a LIFO array of free slots.  malloc pops,
 *            free pushes.  The alloc bits of spans are the truth only at refill
 *            and flush; a slot in a magazine has its alloc bit set.
 * OWNER      The owning thread, except `ready` and where a field says otherwise.
 * LOCKING    None.  Ready lists are lock-free stacks that are pushed by anyone
 *            and taken whole by anyone (no ABA).
 * LIFETIME   Type-stable, part of struct thread; reused by a later thread.
 * INVARIANT  I2, I3 of the design: a slot is read before `fill` is stored, and
 *            stored before `fill` is; so entries[fill] is the only slot that may be in
 *            flight, and whoever stops the thread marks it too.
 */
#ifndef GCALLOC_HEAP_MCACHE_H
#define GCALLOC_HEAP_MCACHE_H

#include "heap/span.h"

enum { MCACHE_ENTRIES = 32 << 10 };     /* of all magazines of a thread; untouched ones cost nothing */

/* A free slot, and where its state byte is, so that malloc need not look for it. */
struct cached {
    void *slot;
    uint8_t *state;
};

struct magazine {
    uint32_t fill;              /* slots in it.  Owner; read with the world stopped. */
    uint32_t limit;             /* free pushes while fill < limit.  Owner, or 0 set by stop 1. */
    struct cached *entries;     /* constant; room for one more than the largest limit */
};

struct ready_list {
    struct span *head;          /* atomic: pushed by anyone, taken whole by anyone */
    uint32_t length;            /* atomic, approximate */
    uint32_t empties;           /* atomic, approximate: of them without a live slot */
};

struct mcache {
    struct magazine magazines[SPAN_CLASSES];
    struct span *current[SPAN_CLASSES];     /* owner only */
    struct span *taken[SPAN_CLASSES];       /* owner only: ready spans taken, linked by next */
    struct ready_list ready[SPAN_CLASSES];

    /* Statistics; owner only, read racily. */
    uint64_t allocated_bytes, allocated_count;      /* slots taken by refill, large blocks */
    uint64_t freed_bytes, freed_count;              /* slots flushed, large blocks freed */
    int64_t gc_bytes;                               /* of both, the balance of gc_alloc memory */
    uint64_t refills, flushes, slow_frees, foreign_frees;
    uint64_t class_refilled[SPAN_CLASSES];          /* slots taken, slots flushed, per class */
    uint64_t class_flushed[SPAN_CLASSES];

    struct cached entries[MCACHE_ENTRIES];
};

/* Spans without a living home. */
extern struct ready_list central[SPAN_CLASSES];

enum { CLEAN_MOST = 1024 };     /* a size class */

/* gc_alloc classes up to CLEAN_MOST bytes: cached slots read as zero.  Refills clear them, many at
 * a time; frees do before they push, so they go the slow way. */
INLINE bool span_class_is_clean(unsigned span_class)
{
    return span_class_kind(span_class) != KIND_MALLOC &&
           size_classes[span_class_size_class(span_class)].slot_bytes <= CLEAN_MOST;
}

/* Push limit of a class's magazine; 0 for large objects, for
 * blocks shared by the tiny allocator, and in hardened mode. */
uint16_t mcache_limit(unsigned span_class);
/* Sets every limit; the magazines were empty. */
void mcache_init(struct mcache *cache);
/* Sets every limit to 0: each free goes the slow way, until mcache_init. */
void mcache_close(struct mcache *cache);

/* Called on a span before its bits are read as the truth, or before it is given
 * back: sweeps it if it needs sweeping.  The one thing the heap asks of the
 * collector; set once at start-up, does nothing until then. */
typedef void (*span_sweeper)(struct span *span);
void mcache_set_sweeper(span_sweeper sweep);

/* Fills the class's empty magazine from an owned or ready span, without asking the
 * page heap.  Returns the number of slots put in. */
uint32_t mcache_refill(struct mcache *cache, unsigned span_class);
/* The same after `span` (fresh, claimed, swept) has become the current one. */
uint32_t mcache_adopt(struct mcache *cache, unsigned span_class, struct span *span);
/* Takes ready spans of a class that have no living home. */
bool mcache_take_central(struct mcache *cache, unsigned span_class);

/* Returns the oldest `count` slots of a magazine to their spans. */
void mcache_flush(struct mcache *cache, unsigned span_class, uint32_t count);
/* Returns everything, and all spans, to central: the thread is gone. */
void mcache_abandon(struct mcache *cache);
/* Moves the ready spans of a cache that nobody uses to central; any thread, any time. */
void mcache_abandon_ready(struct mcache *cache);

/* Frees one slot straight into its span; dies on a double free. */
void span_release_slot(struct span *span, uint32_t slot);
/* Puts a span that its owner is done with back to idle, or on a ready list. */
void span_disown(struct span *span);
/* Takes wholly free spans off a ready list and gives them to the page heap, keeping `keep`. */
size_t ready_trim(struct ready_list *list, uint32_t keep);

#endif
