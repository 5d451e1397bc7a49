/* ceded.h -- parts of the heap that the program has taken into its own hands
 *
 * PURPOSE    A program may protect, map over or unmap pages of its blocks: guard pages of coroutine
 *            stacks, sealed data, ring buffers, a hole.  libc's malloc bears all that for large blocks,
 *            which are mappings of their own.  Here the pages are remembered: the collector
 *            does not load from them (they are roots like other mappings, world/roots.c), does
 *            not reclaim their blocks, and makes them ordinary memory again when those are freed.
 * LOCKING    CEDED, inside.  Changed in the runtime only, so a fork does not come between.
 * INVARIANT  While a cycle marks nothing is ceded or taken back (api/wrap_memory.c): no marker loads from
 *            a page that goes, and no page is a root at first and later part of an object that has
 *            been scanned.  But a block that is freed is renewed at any time: it is empty.
 */
#ifndef GCALLOC_HEAP_CEDED_H
#define GCALLOC_HEAP_CEDED_H

#include "heap/arena.h"

enum cession {
    CEDED_READABLE,             /* protected, but loads work: only what is freed needs thought */
    CEDED_HIDDEN,               /* protected from reading */
    CEDED_REPLACED,             /* another mapping, or none that can be used; until it is freed */
};

struct ceded {
    uintptr_t low, high;        /* whole pages of 4096 */
    enum cession how;
};

/* Rows that are not CEDED_READABLE; atomic, relaxed. */
extern uint32_t ceded_unloadable;
/* All rows; atomic, relaxed. */
extern uint32_t ceded_count;
/* Some pages could not be noted.  Atomic, relaxed; once true it stays so. */
extern bool ceded_unknown;

/* The slots that the range touches go the slow way when they are freed.  In the runtime.  False: no
 * memory; no cycle may mark any more. */
bool ceded_add(uintptr_t low, uintptr_t high, enum cession how);
/* The range is ordinary again, but for what has been ceded more strongly than `most`. */
void ceded_take_back(uintptr_t low, uintptr_t high, enum cession most);
/* Does a row touch the range? */
bool ceded_touches(uintptr_t low, uintptr_t high);
/* Makes ordinary, empty memory of what is ceded of a block that nobody has any more.  False: that
 * cannot be had, and the block must not be used again. */
bool ceded_renew(uintptr_t low, uintptr_t high);

/* Narrows [*low, *high) to its first stretch that can be loaded from; *low == *high: none. */
void ceded_loadable(uintptr_t *low, uintptr_t *high);
/* Narrows it to its first stretch that cannot.  False: none. */
bool ceded_next_unloadable(uintptr_t *low, uintptr_t *high);

void ceded_fork_child(void);

#endif
