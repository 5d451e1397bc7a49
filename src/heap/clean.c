/* clean.c -- see clean.h */
#include "heap/clean.h"

#include <string.h>

#include "base/bits.h"
#include "os/vm.h"

enum {
    BRING_IN_SLOT = 1 << 10,    /* fresh pages of slots up to this size are brought in before they are */
    BRING_IN_BYTES = 16 << 10,  /* touched, so many bytes at a time */
    CLEAR_BYTES = 128,          /* slots up to this size are cleared here, larger ones by memset */
};

/* Whole words, at which a marker may be looking, by a stale pointer: to the sanitizer each is one store. */
INLINE void clear_memory(uintptr_t at, size_t bytes)
{
#if defined(__SANITIZE_THREAD__)
    for (size_t i = 0; i < bytes; i += sizeof(uint64_t))
        store_relaxed((uint64_t *)(at + i), 0);
#else
    memset((void *)at, 0, bytes);
#endif
}

/* A second marker that looks at uninitialised memory must not find stale pointers. */
void clear_slots(const struct span *span, uint32_t word, uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1)
        clear_memory(span_slot_address(span, word * 64 + lowest_bit(slots)), span->slot_bytes);
}

typedef uint64_t word_pair VECTOR(16, 8);

/* A few words, by stores of 16 bytes: that takes less than a call of memset. */
INLINE void clear_words(uintptr_t at, size_t bytes)
{
    uintptr_t last = at + bytes - sizeof(word_pair);

    if (bytes < sizeof(word_pair)) {
        store_relaxed((uint64_t *)at, 0);
        return;
    }
    for (; at < last; at += sizeof(word_pair)) {
        *(word_pair *)at = (word_pair){ 0, 0 };
        COMPILER_BARRIER();     /* or the compiler makes a call of it */
    }
    *(word_pair *)last = (word_pair){ 0, 0 };
}

/* Slots [from, to) are about to be handed out for the first time.  Who takes fresh memory uses all of it
 * soon; and the barrier loads what it overwrites, so that a page would have a fault for reading and another
 * for writing. */
static void bring_in(const struct span *span, uint32_t from, uint32_t to)
{
    size_t span_bytes = (size_t)span->pages << PAGE_SHIFT;
    size_t low = align_up((size_t)from * span->slot_bytes, BRING_IN_BYTES);
    size_t high = min_size(align_up((size_t)to * span->slot_bytes, BRING_IN_BYTES), span_bytes);

    if (span->slot_bytes <= BRING_IN_SLOT && low < high)
        vm_bring_in((void *)(span->base + low), high - low);
}

/* The same for a class that is clean; what has never been handed out of a fresh span is. */
void clean_slots(struct span *span, uint32_t word, uint64_t slots)
{
    uint32_t virgin = span->virgin, first = word * 64;
    size_t slot_bytes = span->slot_bytes;

    span->virgin = (uint32_t)max_size(virgin, first + log2_floor(slots) + 1);
    if (span->zeroed && virgin < first + 64) {
        bring_in(span, virgin, span->virgin);
        slots &= virgin > first ? ~(~0ull << (virgin - first)) : 0;
    }
    if (slots == 0)
        return;
    if (is_one_run(slots))
        clear_memory(span_slot_address(span, first + lowest_bit(slots)), count_bits(slots) * slot_bytes);
    else if (slot_bytes <= CLEAR_BYTES)
        for (; slots != 0; slots &= slots - 1)
            clear_words(span_slot_address(span, first + lowest_bit(slots)), slot_bytes);
    else
        clear_slots(span, word, slots);
}
