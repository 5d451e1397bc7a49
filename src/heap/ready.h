/* ready.h -- how slots get back into their spans, and spans to who takes slots from them
 *
 * PURPOSE    What flushes and refills share (mcache.c, outbox.c): the words of a span that any thread may
 *            change, and the ready lists.
 * OWNER, LOCKING   As in span.h and mcache.h.
 */
#ifndef GCALLOC_HEAP_READY_H
#define GCALLOC_HEAP_READY_H

#include "heap/mcache.h"

/* Wholly free spans a ready list may hold, so that one malloc/free pair does not flip a span each time.
 * A list that holds more, and more than a quarter of its length, is trimmed to half of that. */
enum { EMPTIES_MOST = 16 };

/* The freed bits of a word, which are taken out of it. */
uint64_t span_take_freed(struct slot_bits *bits);
void span_add_live(struct span *span, uint32_t slots);
void span_ensure_swept(struct span *span);

void ready_push(struct ready_list *list, struct span *span);
struct span *ready_take_all(struct ready_list *list);

/* Frees the slots of a magazine straight into their spans. */
void cached_release(const struct cached *entries, uint32_t count);

#endif
