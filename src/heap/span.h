/* span.h -- a run of pages cut into equal slots
 *
 * PURPOSE    The unit that moves between threads, the page heap and the sweeper.
 *            A span holds slots of one span class, or one large object, or it is
 *            a free run of pages.
 *
 * OWNER      A span in use is in exactly one of these states; `claimed` tells
 *            the first from the others.
 *
 *     idle      claimed == 0.  Nobody may touch the alloc bits.  Threads that
 *               free into it set `freed` bits; the one that flips claimed to 1
 *               puts the span on a ready list.
 *     ready     on a ready list (mcache.h); whoever takes it from there owns it
 *     current   a thread takes slots from it
 *     trimmed   somebody took it off a list to give it back to the page heap
 *
 *            Only a small span is ever idle.  Whoever lets go of a span may, a moment later,
 *            still try to claim it, when it is a span again for somebody else: claiming an idle
 *            small span and filing it is always allowed, and nothing else has claimed == 0.
 *
 *            The alloc, condemned and mark words are written by the owner at
 *            refill (span swept), or by the sweeper that claimed the span by its
 *            sweepgen; never by both: no cycle starts while a thread is in
 *            the runtime (thread.h), so sweepgen stands still during a refill.
 *
 * LIFETIME   Headers are type-stable: reused for spans with as many bitmap words,
 *            never unmapped.  A stale pointer from span_of may be dereferenced.
 *
 * INVARIANT  (span_check) a slot whose state is not SLOT_IN has its alloc or its condemned bit
 *            set; alloc and condemned are disjoint; freed is a subset of
 *            alloc | condemned; with nobody else running, live == |alloc | condemned| - |freed|.
 */
#ifndef GCALLOC_HEAP_SPAN_H
#define GCALLOC_HEAP_SPAN_H

#include "heap/arena.h"
#include "heap/sizeclass.h"

struct mcache;

enum span_state {
    SPAN_UNUSED,                /* the header waits for reuse */
    SPAN_FREE,                  /* a free run of pages, owned by HEAP */
    SPAN_KEPT,                  /* a large object that was freed, whole, for the next of its size; HEAP */
    SPAN_SMALL,
    SPAN_LARGE,
};

/* Who has a slot: the program, or us (in a magazine, or free in its span).  A byte each, so
 * that malloc and free of any thread write it with a plain store; every double free
 * but two at the very same moment finds SLOT_IN. */
enum slot_state {
    SLOT_IN,
    SLOT_OUT,
    SLOT_CONDEMNED,             /* OUT, and its condemned bit is set: a free goes the slow way, so that
                                 * the slot loses that bit before it is handed out again */
    SLOT_CEDED,                 /* OUT, or condemned, and part of it is not as we made it (ceded.h): a
                                 * free goes the slow way, and no sweep takes it */
};

/* The bits of 64 slots, side by side: one look touches one cache line. */
struct slot_bits {
    uint64_t alloc;             /* atomic, owner writes: 1: handed out, or cached in a magazine */
    uint64_t freed;             /* atomic: 1: freed, not yet merged into alloc */
    uint64_t condemned;         /* atomic, owner writes: 1: malloc block, unreachable in the last cycle */
    uint64_t mark;              /* atomic, one writer: 1: reached in this cycle, by the leader (gc/mark.h) */
    uint64_t black;             /* atomic: the same by anybody else; born, freed or cached in it */
    uint64_t kept;              /* atomic: 1: reached from malloc blocks that no root reaches */
};

struct span {
    /* Constant while the span is in use; read without a lock by free and the marker. */
    uintptr_t base;             /* address of slot 0; page aligned */
    uint64_t divider;           /* see span_slot_of; 0 for a large object */
    size_t slot_bytes;          /* large: all bytes of the run */
    uint32_t slots;
    uint16_t span_class;        /* large: class 0 of its kind */
    uint8_t state;              /* enum span_state; atomic, written under HEAP */
    uint8_t words;              /* constant for the header's life: bitmap words */
    uint32_t id;                /* constant: index in the span table */
    uint32_t pages;

    uint8_t *slot_state;        /* constant for the header's life: enum slot_state, a byte per slot */
    struct mcache *home;        /* atomic: whose slots they are, and ready list; a hint; NULL: central */
    uint8_t zeroed;             /* when it came from the page heap it read as zero */
    uint8_t kind;               /* enum kind, of span_class */
    uint8_t moved;              /* large: pages were moved in; renew the mapping before reuse */

    /* A line of its own: written by whoever gives slots back, while the home thread reads the one before. */
    uint32_t live ALIGNED(CACHE_LINE);  /* atomic: slots that are not free */
    uint32_t sweepgen;          /* atomic: see gc/sweep.h */
    uint32_t claimed;           /* atomic: see OWNER; pairs exchange/exchange */
    uint32_t next_word;         /* owner only: where the next refill looks first */
    uint32_t virgin;            /* owner only: slots from here on were never handed out */
    struct span *next;          /* ready list, free-run bin or header free list */
    struct span *prev;          /* free-run bin (HEAP) */
    size_t requested;           /* large: bytes asked for; written by its allocator */

    struct slot_bits bits[] ALIGNED(CACHE_LINE);
};

/* Of a header with so many bitmap words: their bits, and a state byte for each slot. */
INLINE size_t span_header_bytes(uint32_t words)
{
    return sizeof(struct span) + words * (sizeof(struct slot_bits) + 64);
}

/* While a cycle marks: slots that are handed out get their mark bit at once (allocate black).
 * Atomic; written with the world stopped, read in the runtime. */
extern uint32_t span_allocate_black;

/* While a copy of the process marks, which sees nothing that comes later: slots that are freed get their
 * mark bit, too, for from a magazine they are handed out again.  So every free goes the slow way.
 * Atomic; the same. */
extern uint32_t span_free_black;

/* More than one task may touch the heap: what changes words that any thread may change needs a bus
 * lock, which costs more than all the rest of a flush.  Not 0 before a second task does: see Note
 * [ALONE] in world/thread.c.  Atomic. */
extern uint32_t heap_shared;
enum {
    SHARED_BY_THREADS = 1,      /* for ever */
    SHARED_BY_CYCLE = 2,        /* until its sweep is over */
};

/* Which slot holds the byte at offset: one multiplication, exact for every offset
 * below a span's size.  The low half of the same product is below the
 * divider exactly when the offset is the start of a slot (Lemire, Kaser and
 * Kurz, Faster remainder by direct computation, 2019). */
INLINE uint32_t span_slot_of(const struct span *span, size_t offset)
{
    return (uint32_t)(((unsigned __int128)offset * span->divider) >> 64);
}

INLINE uintptr_t span_slot_address(const struct span *span, uint32_t slot)
{
    return span->base + (size_t)slot * span->slot_bytes;
}

INLINE enum kind span_kind(const struct span *span)
{
    return (enum kind)span->kind;
}

INLINE bool span_in_use(const struct span *span)
{
    return load_acquire(&span->state) >= SPAN_SMALL;
}

/* Slots of one word that hold an object, as the collector sees it. */
INLINE uint64_t span_objects(const struct span *span, uint32_t word)
{
    const struct slot_bits *bits = &span->bits[word];

    return (load_relaxed(&bits->alloc) | load_relaxed(&bits->condemned)) &
           ~load_relaxed(&bits->freed);
}

/* The slots of one word that are marked, by whomever.  Acquire: who sees a slot's alloc bit and
 * looks here then sees the mark that it was born with. */
INLINE uint64_t span_marks(const struct span *span, uint32_t word)
{
    const struct slot_bits *bits = &span->bits[word];

    return load_acquire(&bits->mark) | load_acquire(&bits->black);
}

INLINE bool span_is_marked(const struct span *span, uint32_t slot)
{
    return span_marks(span, slot >> 6) >> (slot & 63) & 1;
}

/* Marks; true when this call did.  Anybody but the leader, who has a word of its own and needs no
 * atomic or: two may mark a slot at the same time, and both be told so. */
INLINE bool span_mark(struct span *span, uint32_t slot)
{
    uint64_t bit = 1ull << (slot & 63);

    if (span_is_marked(span, slot))
        return false;
    return (fetch_or_relaxed(&span->bits[slot >> 6].black, bit) & bit) == 0;
}

/* Number of span ids handed out; ids are below it.  Pairs: release in the table. */
uint32_t span_table_size(void);
/* The span of an id; never NULL below span_table_size(). */
struct span *span_by_id(uint32_t id);

/* How many slots of a class so many pages hold. */
INLINE uint32_t span_slots(const struct size_class *class, size_t pages)
{
    return (uint32_t)((pages << PAGE_SHIFT) / class->slot_bytes);
}

/* Bitmap words for the slots of a class.  Whoever frees the first byte behind the last slot looks
 * that one up before it is found not to be there. */
INLINE uint32_t span_words(const struct size_class *class, size_t pages)
{
    uint32_t slots = span_slots(class, pages);
    bool tail = (size_t)slots * class->slot_bytes < pages << PAGE_SHIFT;

    return (slots + tail + 63u) / 64;
}

/* Prepares a header for small slots of a class, or for one large object; pages
 * and base are set.  HEAP held. */
void span_format(struct span *span, unsigned span_class);
/* A header with at least `words` bitmap words, state SPAN_UNUSED.  HEAP held.  NULL: no memory. */
struct span *span_header_alloc(uint32_t words);
void span_header_free(struct span *span);

bool span_check(const struct span *span);

#endif
