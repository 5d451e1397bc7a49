/* fast.h -- malloc and free of a cached small block, inline
 *
 * PURPOSE    The instructions that run once per call.  No lock, no phase test, no
 *            touch of the block.
 * INVARIANT  (I3) A thread may be stopped between any two instructions here.
 *            fast_pop and fast_tear have the slot in a register before they store what says that
 *            it is cached no more; fast_push has it in a register until it is stored and counted.
 */
#ifndef GCALLOC_ALLOC_FAST_H
#define GCALLOC_ALLOC_FAST_H

#include "world/thread.h"

/* A free slot of the class, or NULL when the magazine is empty. */
INLINE void *fast_pop(struct mcache *cache, unsigned span_class)
{
    struct magazine *magazine = &cache->magazines[span_class];

    /* One plain address: an indexed one costs the store that is loaded again next time a cycle. */
    __asm__("" : "+r"(magazine));
    size_t top = magazine->top;
    struct cached *entry = (struct cached *)((char *)cache + top);
    void *slot = *(void *volatile *)&entry->slot;

    if (UNLIKELY(slot == NULL))
        return NULL;
    uint8_t *state = entry->state;
    COMPILER_BARRIER();
    *(volatile uint32_t *)&magazine->top = (uint32_t)(top - sizeof *entry);
    store_relaxed(state, SLOT_OUT);
    /* Keeps the slot in a register up to here. */
    __asm__ volatile("" : "+r"(slot));
    if (slot == NULL)           /* spares the caller a second test */
        __builtin_unreachable();
    return slot;
}

/* The same of a clean class: from its strip. */
INLINE void *fast_tear(struct mcache *cache, unsigned span_class)
{
    struct strip *strip = &cache->strips[span_class];
    uint64_t free = strip->free;

    if (UNLIKELY(free == 0))
        return NULL;
    unsigned bit = lowest_bit(free);
    void *slot = (void *)(strip->first + bit * strip->slot_bytes);
    uint8_t *state = strip->states + bit;
    __asm__ volatile("" : "+r"(slot));  /* all of it in a register */
    COMPILER_BARRIER();
    *(volatile uint64_t *)&strip->free = free & (free - 1);
    store_relaxed(state, SLOT_OUT);
    __asm__ volatile("" : "+r"(slot));
    if (slot == NULL)
        __builtin_unreachable();
    return slot;
}

/* The same of any class. */
INLINE void *fast_take(struct mcache *cache, unsigned span_class)
{
    return span_class_is_clean(span_class) ? fast_tear(cache, span_class) : fast_pop(cache, span_class);
}

/* Stores a slot above `top`, then counts it (I3). */
INLINE void push_entry(struct mcache *cache, uint32_t *counted, size_t top, void *block, uint8_t *state)
{
    struct cached *entry = (struct cached *)((char *)cache + top) + 1;

    *(void *volatile *)&entry->slot = block;
    entry->state = state;
    store_relaxed(state, SLOT_IN);
    COMPILER_BARRIER();
    *(volatile uint32_t *)counted = (uint32_t)(top + sizeof *entry);
    __asm__ volatile("" : : "r"(block));
}

/* The rest of fast_push for a span that is at home elsewhere; the slow way when it has no home. */
INLINE bool fast_push_foreign(struct mcache *cache, const struct span *span, void *block,
                              uint8_t *state)
{
    struct outbox *outbox = &cache->outbox;
    size_t top = outbox->top, bytes = span->slot_bytes;

    if (UNLIKELY(top >= outbox->limit || bytes > outbox->bytes || !mcache_is_used(load_relaxed(&span->home))))
        return false;
    outbox->bytes -= (uint32_t)bytes;
    push_entry(cache, &outbox->top, top, block, state);
    return true;
}

/* Pushes a block on its class's magazine, or into the outbox.  False when anything is unusual: not a
 * heap address, not the start of a small slot, not in the program's hands, the
 * magazine full, closed or never used.  The caller then goes the slow way. */
INLINE bool fast_push(struct mcache *cache, void *block)
{
    uintptr_t address = (uintptr_t)block;

    if (UNLIKELY(heap_offset(address) >= load_folded(&arena.bytes)))
        return false;
    uint64_t map_entry = pagemap_entry(address);
    struct span *span = entry_span(map_entry);
    struct magazine *magazine = &cache->magazines[entry_span_class(map_entry)];
    size_t top = magazine->top;
    __asm__("" : "+r"(top));    /* extended once, not again below */
    if (UNLIKELY((uint32_t)top >= magazine->limit))     /* also: no span here, or a large one */
        return false;
    unsigned __int128 product = (unsigned __int128)(address - span->base) * span->divider;
    if (UNLIKELY((uint64_t)product >= span->divider))
        return false;
    uint8_t *state = span->slot_state + (uint64_t)(product >> 64);
    if (UNLIKELY(load_folded(state) != SLOT_OUT))
        return false;
    if (UNLIKELY(load_folded(&span->home) != cache))
        return fast_push_foreign(cache, span, block, state);
    push_entry(cache, &magazine->top, top, block, state);
    return true;
}

#endif
