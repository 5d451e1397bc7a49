/* mcache.h -- one thread's free slots
 *
 * PURPOSE    Per span class a magazine: a LIFO array of free slots.  malloc pops,
 *            free pushes; slots of other threads' spans it pushes into the outbox.  Per class of
 *            small gc_alloc objects, which hardly anybody frees, a strip instead: free slots of one
 *            word of a span, as bits.  The alloc bits of spans are the truth only at refill and
 *            flush; a slot in a magazine, a strip or the outbox has its alloc bit set.
 * OWNER      The owning thread, except `ready` and where a field says otherwise.
 * LOCKING    None.  Ready lists are lock-free stacks that are pushed by anyone
 *            and taken whole by anyone (no ABA).
 * LIFETIME   Type-stable, part of struct thread; reused by a later thread.
 * INVARIANT  (I3) A slot is read before `top` is stored, and stored before `top` is; so the entry
 *            above the top is the only one whose slot may be in flight, and whoever stops the
 *            thread marks it too (I2).  A slot of a strip is in a register before `free` is stored
 *            without it.
 */
#ifndef GCALLOC_HEAP_MCACHE_H
#define GCALLOC_HEAP_MCACHE_H

#include "heap/span.h"

enum {
    MCACHE_ENTRIES = 44 << 10,  /* for all magazines of a thread; untouched ones cost nothing */
    OUTBOX_ENTRIES = 2050,      /* of these, for its outbox, */
    SWING_ENTRIES = 5000,       /* and for magazines that were extended */
    BUNDLES = HOSTILE(256, 2),
};

/* A free slot, and where its state byte is, so that malloc need not look for it. */
struct cached {
    void *slot;
    uint8_t *state;
};

/* Both are offsets of an entry, in bytes from the start of the mcache: an entry is one addition away, and
 * what malloc and free need of a class shares 8 bytes.  Below a magazine's first entry lies one
 * that is always empty: malloc tells from the slot it loads, NULL, that there is none.
 *     0, 0         not used; the empty entry is the magazine of class 0, which holds nothing
 *     top, 0       closed for frees: by mcache_close, or it never takes any
 *     top, limit   open */
struct magazine {
    uint32_t top;               /* the newest slot's entry.  Owner; read with the world stopped. */
    uint32_t limit;             /* free pushes while top < limit.  Owner, or 0 set by a stop. */
};

/* Free slots of one word of a span.  The thread takes the lowest; none is ever pushed.  While `free` is
 * not 0 the rest stands still.  All 0: not used.  Owner; read with the world stopped. */
struct strip {
    uint64_t free;
    uintptr_t first;            /* the word's first slot */
    uint8_t *states;            /* ... and its state byte */
    size_t slot_bytes;
};

/* Slots of spans that are at home with another thread, of all classes, on their way back: malloc takes
 * none of them, so blocks of two threads do not get mixed.  It fills until `room` or `bytes` are used
 * up, and then all of it is flushed. */
struct outbox {
    uint32_t top;               /* as in a magazine; 0: not used yet */
    uint32_t limit;             /* as in a magazine */
    uint32_t bytes;             /* so many more may wait in it.  Owner. */
    uint32_t room;              /* entries; grows with every second time they were too few.  Owner. */
    uint32_t filled;            /* how often that was.  Owner. */
};

/* Slots of one word of a span that go back together. */
struct bundle {
    struct span *span;          /* NULL: none */
    const uint8_t *first;       /* the state byte of the word's slot 0 */
    uint64_t mask;
};

struct ready_list {
    struct span *head;          /* atomic: pushed by anyone, taken whole by anyone */
    uint32_t length;            /* atomic, approximate */
    uint32_t empties;           /* atomic, approximate: of them without a live slot */
};

/* What the slow paths need of a class, in one cache line. */
struct class_cache {
    struct span *current;       /* owner; whether it is NULL, anybody, racily */
    struct span *taken;         /* owner only: ready spans taken, linked by next */
    struct ready_list ready;
    uint64_t refilled, flushed; /* slots.  Owner, read racily. */
    /* The magazine's array: where its empty entry lies, and for how many slots there is room.  It
     * begins small and moves.  0, 0: none yet.  Owner, in the runtime; read with the world stopped. */
    uint32_t bottom;
    uint16_t room;
    uint16_t last_refill;       /* slots taken by the last refill.  Owner. */
    uint32_t flush_seen;        /* of `refilled`, when the magazine was full last.  Owner. */
    uint32_t adopted;           /* fresh spans.  Owner. */
} ALIGNED(CACHE_LINE);

struct mcache {
    struct magazine magazines[SPAN_CLASSES];
    struct outbox outbox;

    /* Arrays of magazines, as offsets; at their end those that were extended, and the outbox.  Owner.
     * This line is read by every thread that frees, so it is seldom written. */
    uint32_t entries_start ALIGNED(CACHE_LINE), entries_used, entries_end;
    uint32_t swing_used, swing_bytes;   /* of SWING_ENTRIES, in bytes; of the memory that they may hold */
    uint32_t abandoned;         /* atomic: its thread is gone, and no other has begun to use it */
    bool used, strips_used;     /* some magazine or strip; atomic: some strip */
    /* Statistics; owner only, read racily. */
    uint64_t allocated_bytes ALIGNED(CACHE_LINE);   /* slots taken by refill, large blocks */
    uint64_t allocated_count;
    uint64_t freed_bytes, freed_count;              /* slots flushed, large blocks freed */
    int64_t gc_bytes;                               /* of both, the balance of gc_alloc memory */
    uint64_t refills, flushes;
    uint64_t foreign_frees;                         /* slots flushed to spans that are at home elsewhere */
    uint64_t merges;                                /* freed words with bits in them, found by refill */
    uint64_t filed;                                 /* spans taken from the ready list */

    struct class_cache classes[SPAN_CLASSES];
    struct strip strips[SPAN_CLASSES];  /* of clean classes */
    struct bundle bundles[BUNDLES];     /* owner, in a flush of the outbox; empty but then */
};

enum { CLEAN_MOST = GC_TABLE_MOST };     /* bytes; the largest such class */

/* gc_alloc classes up to CLEAN_MOST bytes: cached slots read as zero, for refills clear them, many at a
 * time.  They are in a strip; what is freed goes straight back to its span. */
INLINE bool span_class_is_clean(unsigned span_class)
{
    return span_class_kind(span_class) != KIND_MALLOC &&
           size_classes[span_class_size_class(span_class)].slot_bytes <= CLEAN_MOST;
}

/* Of a cache that is all zero: `entries`, behind it, are MCACHE_ENTRIES for its magazines. */
void mcache_init(struct mcache *cache, struct cached *entries);

INLINE uint32_t magazine_fill(const struct mcache *cache, unsigned span_class)
{
    uint32_t top = load_relaxed(&cache->magazines[span_class].top);

    return top == 0 ? 0
                    : (top - load_relaxed(&cache->classes[span_class].bottom)) /
                          (uint32_t)sizeof(struct cached);
}

/* The class's strip; NULL: it has none, or the thread has not used any. */
INLINE struct strip *mcache_strip(struct mcache *cache, unsigned span_class)
{
    bool has_strip = load_relaxed(&cache->strips_used) && span_class_is_clean(span_class);

    return has_strip ? &cache->strips[span_class] : NULL;
}

/* Slots of the class in magazine or strip. */
INLINE uint32_t mcache_cached(struct mcache *cache, unsigned span_class)
{
    const struct strip *strip = mcache_strip(cache, span_class);

    return strip != NULL ? count_bits(load_relaxed(&strip->free)) : magazine_fill(cache, span_class);
}

/* Index 0 is the oldest slot; the one past the newest may be in flight. */
INLINE struct cached *magazine_entry(struct mcache *cache, unsigned span_class, uint32_t index)
{
    return (struct cached *)((char *)cache + cache->classes[span_class].bottom) + 1 + index;
}

/* Outside of the fast paths. */
INLINE void magazine_set_fill(struct mcache *cache, unsigned span_class, uint32_t fill)
{
    cache->magazines[span_class].top =
        cache->classes[span_class].bottom + fill * (uint32_t)sizeof(struct cached);
}

/* A span's home: is it a thread that can use what comes home?  A hint. */
INLINE bool mcache_is_used(const struct mcache *home)
{
    return home != NULL && !load_relaxed(&home->abandoned);
}

INLINE struct cached *outbox_entry(struct mcache *cache, uint32_t index)
{
    return (struct cached *)((char *)cache + cache->entries_end) + 1 + index;
}

INLINE uint32_t outbox_fill(const struct mcache *cache)
{
    uint32_t top = load_relaxed(&cache->outbox.top);

    return top == 0 ? 0 : (top - cache->entries_end) / (uint32_t)sizeof(struct cached);
}

/* How many slots a class's magazine takes from free at most; 0 for large objects, for
 * clean classes, and in hardened mode. */
uint16_t mcache_limit(unsigned span_class);
/* The first use of a class's magazine, or after it was closed: opens it for frees, if it may be. */
void magazine_open(struct mcache *cache, unsigned span_class);
/* Pushes a slot of the span, opening magazine and outbox; a full magazine grows, or half of it is
 * flushed; a full outbox is flushed. */
void mcache_push(struct mcache *cache, struct span *span, struct cached entry);
/* Sets every limit to 0: each free goes the slow way, which opens its magazine once it may. */
void mcache_close(struct mcache *cache);

/* Fills the class's empty magazine or strip from an owned or ready span, without asking the
 * page heap.  Returns the number of slots put in. */
uint32_t mcache_refill(struct mcache *cache, unsigned span_class);
/* How long the next fresh span of a class should be: among many threads the first ones of each are short. */
size_t mcache_fresh_pages(const struct mcache *cache, unsigned span_class);
/* The same after `span` (fresh, claimed, swept) has become the current one. */
uint32_t mcache_adopt(struct mcache *cache, unsigned span_class, struct span *span);
/* Takes a ready span of a class that has no living home. */
bool mcache_take_central(struct mcache *cache, unsigned span_class);
/* The same from any list of the class: another thread's. */
bool mcache_take_ready(struct mcache *cache, unsigned span_class, struct ready_list *list);

/* Returns the oldest `count` slots of a magazine, or all of a strip, to their spans. */
void mcache_flush(struct mcache *cache, unsigned span_class, uint32_t count);
/* Slots of a class have been returned. */
void mcache_count_flushed(struct mcache *cache, unsigned span_class, uint32_t slots);
/* Returns everything, and all spans, to central: the thread is gone. */
void mcache_abandon(struct mcache *cache);
/* Puts spans that were taken from the ready list back to it. */
void mcache_untake(struct mcache *cache, unsigned span_class);
/* Moves the ready spans of a cache that nobody uses to central; any thread, any time. */
void mcache_abandon_ready(struct mcache *cache);

/* The outbox (outbox.c).  Pushes a slot of so many bytes, opening it; a full one is flushed. */
void outbox_push(struct mcache *cache, struct cached entry, size_t bytes);
/* Returns all of its slots to their spans. */
void outbox_flush(struct mcache *cache);

#endif
