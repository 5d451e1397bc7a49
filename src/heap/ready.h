/* ready.h -- how slots get back into their spans, and spans to who takes slots from them
 *
 * PURPOSE    What flushes and refills share (mcache.c, outbox.c): the words of a span that any thread may
 *            change, and the ready lists.
 * OWNER, LOCKING   As in span.h and mcache.h.
 */
#ifndef GCALLOC_HEAP_READY_H
#define GCALLOC_HEAP_READY_H

#include "heap/mcache.h"

/* The freed bits of a word, which are taken out of it. */
uint64_t span_take_freed(struct slot_bits *bits);
void span_add_live(struct span *span, uint32_t slots);
void span_ensure_swept(struct span *span);

struct span *ready_take_all(struct ready_list *list);
/* At most `count` of them, of those that were pushed last: NULL, or a chain that ends with NULL. */
struct span *ready_take_some(struct ready_list *list, uint32_t count);
/* To those without a home, by its owner: unless it is wholly free, and there are enough of those. */
void ready_push_central(struct span *span);

/* Frees the slots of a magazine straight into their spans. */
void cached_release(const struct cached *entries, uint32_t count);

#endif
