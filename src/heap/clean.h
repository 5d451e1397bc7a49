/* clean.h -- slots that read as zero
 *
 * PURPOSE  What a refill does to the memory of slots before it caches them.
 * OWNER    The owner of the span; the slots are nobody's yet.
 */
#ifndef GCALLOC_HEAP_CLEAN_H
#define GCALLOC_HEAP_CLEAN_H

#include "heap/span.h"

/* Clears slots of one word. */
void clear_slots(const struct span *span, uint32_t word, uint64_t slots);
/* The same for a class that is clean; what has never been handed out of a fresh span is, and is brought
 * in. */
void clean_slots(struct span *span, uint32_t word, uint64_t slots);

#endif
