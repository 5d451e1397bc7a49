/* ready_release.c -- memory of free slots back to the OS
 *
 * A span with one live slot keeps all of its pages, and a program whose blocks change their sizes leaves many
 * such spans behind.  What lies wholly between free slots can go, as what lies in free runs: it reads as zero
 * afterwards, and nothing is stored in a free slot.
 *
 * Who has taken a span off its list owns it.  A slot is free by the same rule as for a refill (take_word);
 * others may set more freed bits meanwhile, but only the owner takes slots.
 */
#include "heap/ready.h"

#include "os/vm.h"

enum { LOOK_PAGES = 256 };

static bool is_free(const struct span *span, uint32_t slot)
{
    const struct slot_bits *bits = &span->bits[slot >> 6];
    uint64_t freed = load_acquire(&bits->freed);
    uint64_t used = (load_relaxed(&bits->alloc) | load_relaxed(&bits->condemned)) & ~freed;

    return (used >> (slot & 63) & 1) == 0;
}

/* The end of the slots from `slot` on that are free, as that is, or are not. */
static uint32_t run_end(const struct span *span, uint32_t slot, bool free)
{
    do
        slot++;
    while (slot < span->slots && is_free(span, slot) == free);
    return slot;
}

/* How many bytes of the range were in memory. */
static size_t release_range(uintptr_t low, uintptr_t high)
{
    unsigned char resident[LOOK_PAGES];
    size_t pages = 0;

    for (uintptr_t at = low; at < high; at += LOOK_PAGES * VM_PAGE) {
        size_t bytes = min_size(high - at, LOOK_PAGES * VM_PAGE), here = 0;

        if (!vm_resident((void *)at, bytes, resident))
            return pages * VM_PAGE;
        for (size_t i = 0; i < bytes / VM_PAGE; i++)
            here += resident[i] & 1;
        if (here != 0 && vm_release((void *)at, bytes))
            pages += here;
    }
    return pages * VM_PAGE;
}

/* The caller's span, swept. */
static size_t release_slots(const struct span *span)
{
    uintptr_t limit = span->base + ((size_t)span->pages << PAGE_SHIFT);
    size_t released = 0;

    for (uint32_t slot = 0, end; slot < span->slots; slot = end) {
        bool free = is_free(span, slot);        /* asked once: others free slots meanwhile */

        end = run_end(span, slot, free);
        if (!free)
            continue;
        uintptr_t low = align_up(span_slot_address(span, slot), VM_PAGE);
        uintptr_t high = end < span->slots ? align_down(span_slot_address(span, end), VM_PAGE) : limit;
        if (low < high)
            released += release_range(low, high);
    }
    return released;
}

size_t ready_release(struct ready_list *list)
{
    size_t released = 0;
    uint32_t length = 0;
    struct span *chain = ready_take_all(list);

    for (struct span *span = chain; span != NULL; span = span->next, length++) {
        span_ensure_swept(span);
        released += release_slots(span);
    }
    if (chain != NULL)
        ready_put_back(list, chain, length, 0);
    return released;
}
