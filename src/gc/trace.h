/* trace.h -- one worker's scan loop
 *
 * PURPOSE    Scans ranges of words; what they name is marked and scanned in turn.
 *            Words that may name an object go through a short queue first: their spans are
 *            looked up, and spans and objects prefetched, some entries before they are looked at,
 *            so that the cache misses of many objects overlap.  What the queue has no room for
 *            waits on a stack, a batch at a time.  Behind both is the worklist, of
 *            ranges not yet (wholly) scanned.
 * OWNER      A tracer belongs to its worker; `list` is shared.
 * INVARIANT  Every object is marked before its range is scanned or pushed.  Queue and
 *            stack hold words seen; the worklist holds ranges still to be read.
 */
#ifndef GCALLOC_GC_TRACE_H
#define GCALLOC_GC_TRACE_H

#include "gc/object.h"
#include "gc/worklist.h"
#include "world/roots.h"

enum {
    QUEUE_WORDS = HOSTILE(128, 4), /* a power of 2 */
    QUEUE_AHEAD = HOSTILE(16, 1), /* so many entries are looked up and fetched before they are used */
    QUEUE_LEAST = HOSTILE(16, 1), /* so many remain before more is taken from elsewhere, if there is more */
    SPILL_WORDS = HOSTILE(1024, 4),
    /* Words looked at together by trace_again. */
    AGAIN_WORDS = HOSTILE(128, 4),
    /* Large ranges are scanned in pieces, so that they can be shared. */
    TRACE_PIECE_BYTES = HOSTILE(128 << 10, 64),
    /* From here on the kernel is asked which pages of a range are in memory (1 us): reading an
     * untouched page costs a fault, and page tables. */
    TRACE_ASK_BYTES = HOSTILE(64 << 10, 64),
};

enum tracer_role {
    TRACER_HELPING,             /* sets `black` bits, by atomic or: a helper, an assist */
    TRACER_LEADING,             /* the only writer of `mark` bits */
    TRACER_KEEPING,             /* sets kept bits, of what is not marked; see mark.h */
};

struct tracer {
    struct worklist *list;
    struct work_local local;
    uint32_t head, ahead, tail; /* of the queue: [head, ahead) is looked up, [ahead, tail) is not */
    uint32_t spilled;           /* entries in use */
    enum tracer_role role;
    /* Atomic, relaxed: others read them meanwhile. */
    uint64_t scanned;           /* bytes looked at */
    uint64_t marked[KINDS];     /* bytes of slots this worker marked */
    uint64_t kept;              /* ... and kept */
    /* The queue: addresses in the heap, and their spans. */
    uintptr_t address[QUEUE_WORDS];
    struct span *span[QUEUE_WORDS];
    uintptr_t spill[SPILL_WORDS];       /* more addresses, the newest last */
    uint32_t again;             /* entries in use */
    uintptr_t agains[AGAIN_WORDS];
};

/* Adds to one of these. */
INLINE void tracer_count(uint64_t *counter, uint64_t bytes)
{
    store_relaxed(counter, *counter + bytes);
}

/* Scans a marked object. */
void trace_object(struct tracer *tracer, const struct span *span, uint32_t slot);
/* Looks at every word of a root range before it returns.  may_trace: and scans what there is no
 * room for, and what that leads to; else it is pushed. */
void trace_root_range(struct tracer *tracer, enum root_kind kind, const uintptr_t *low,
                      const uintptr_t *high, bool may_trace);
/* A word by itself. */
void trace_word(struct tracer *tracer, uintptr_t word);
/* Pushes a marked object. */
void trace_push_object(struct worklist *list, struct work_local *local, const struct span *span,
                       uint32_t slot);
/* Looks again at words of a marked object in [low, high), which were scanned before.  Most name
 * marked objects, and that is found out without a look at those: several times as fast as a
 * scan.  What is in the batch is dealt with by trace_again_end. */
void trace_again(struct tracer *tracer, const struct span *span, uint32_t slot, uintptr_t low,
                 uintptr_t high);
void trace_again_end(struct tracer *tracer);
/* The same with kept objects of one word, as a whole, by a keeper, before they were scanned: most of what
 * they name is kept already.  And works off its own stack. */
void trace_kept(struct tracer *tracer, const struct span *span, uint32_t word, uint64_t slots);
/* Works off what this worker has on its own stack. */
void trace_own(struct tracer *tracer);
/* Works until there is nothing left for anybody; the worker was busy, and is idle afterwards. */
void trace_to_closure(struct tracer *tracer);
/* Works on the worker's own and shared work until about so many bytes have been looked at; what is
 * left stays the worker's.  True: there was nothing left. */
bool trace_at_most(struct tracer *tracer, uint64_t bytes);
/* Works until about so many bytes have been looked at, or there is nothing to be had; what is left
 * of the worker's own work goes to the shared list.  The worker is busy, before and after. */
void trace_some(struct tracer *tracer, uint64_t bytes);

#endif
