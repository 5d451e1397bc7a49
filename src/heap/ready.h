/* ready.h -- how slots get back into their spans, and spans to who takes slots from them
 *
 * PURPOSE    The words of a span that any thread may change, and the ready lists: those of threads
 *            (mcache.h), and central, of spans without a living home.
 * OWNER, LOCKING   As in span.h and mcache.h.
 */
#ifndef GCALLOC_HEAP_READY_H
#define GCALLOC_HEAP_READY_H

#include "heap/mcache.h"

/* Called on a span before its bits are read as the truth, or before it is given
 * back: sweeps it if it needs sweeping.  Set once at start-up, does nothing until then. */
typedef void (*span_sweeper)(struct span *span);
void ready_set_sweeper(span_sweeper sweep);

/* The freed bits of a word, which are taken out of it. */
uint64_t span_take_freed(struct slot_bits *bits);
void span_add_live(struct span *span, uint32_t slots);
void span_ensure_swept(struct span *span);

/* Frees one slot straight into its span; dies on a double free. */
void span_release_slot(struct span *span, uint32_t slot);
/* The same for some of one word. */
void span_release_slots(struct span *span, uint32_t word, uint64_t mask);
/* The same for the slots of a magazine. */
void cached_release(const struct cached *entries, uint32_t count);
COLD NORETURN void span_die_double_free(const struct span *span, const void *block);
/* Puts a span that its owner is done with back to idle, or on a ready list. */
void span_disown(struct span *span);

/* Spans without a living home. */
extern struct ready_list central[SPAN_CLASSES];

struct span *ready_take_all(struct ready_list *list);
/* At most `count` of them, of those that were pushed last: NULL, or a chain that ends with NULL. */
struct span *ready_take_some(struct ready_list *list, uint32_t count);
/* Puts back what was taken from the list, below what was pushed meanwhile. */
void ready_put_back(struct ready_list *list, struct span *chain, uint32_t length, uint32_t empties);
/* To those without a home, by its owner: unless it is wholly free, and there are enough of those. */
void ready_push_central(struct span *span);
/* Takes wholly free spans off a ready list and gives them to the page heap, keeping `keep`. */
size_t ready_trim(struct ready_list *list, uint32_t keep);
/* Returns the pages of a list's spans that hold nothing but free slots to the OS.  The bytes that were
 * in memory. */
size_t ready_release(struct ready_list *list);

#endif
