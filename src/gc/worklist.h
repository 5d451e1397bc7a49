/* worklist.h -- the grey objects
 *
 * PURPOSE    Ranges of words still to be scanned.  Each worker pushes and pops on
 *            its own pair of blocks; full blocks go to a shared stack, where idle
 *            workers take them.  When somebody is hungry, a worker gives half
 *            of its block away.
 * LOCKING    None.  The shared stacks are lock-free; a counter in the head's spare
 *            bits makes a stale compare-and-swap fail.
 * LIFETIME   Blocks come from meta_alloc and are recycled, never freed.
 * INVARIANT  `outstanding` = busy workers + blocks on the shared stack.  Work exists
 *            only in those places, and only busy workers make more; so when it
 *            is 0 there is none, and there will be none.
 *
 *            Blocks on `shaded` are not counted: they come from mutators at any time, and wait until
 *            the leader of the marking, being busy, takes them over.
 *
 *            When no block can be had, the entry is dropped and `overflowed` set.
 *            Only ranges of marked objects may be pushed that way: the marker
 *            then scans all marked objects again (mark.c).
 */
#ifndef GCALLOC_GC_WORKLIST_H
#define GCALLOC_GC_WORKLIST_H

#include "base/atomics.h"

enum {
    WORK_BLOCK_BYTES = HOSTILE(4096, 64),
    WORK_ENTRIES = HOSTILE(255, 3), /* of a block */
};

struct work {
    uintptr_t address;          /* 8-byte aligned */
    size_t bytes;               /* a multiple of 8 */
};

struct work_block {
    struct work_block *next;    /* atomic: on a stack; read by losers of a race too */
    uint32_t count;
    struct work entries[WORK_ENTRIES] ALIGNED(16);
};

/* A stack of blocks: address and a counter in one word. */
struct work_stack {
    uint64_t head;              /* atomic; pairs push release / pop acquire */
} ALIGNED(CACHE_LINE);

struct worklist {
    struct work_stack full;
    struct work_stack empty;
    struct work_stack shaded;
    uint32_t outstanding ALIGNED(CACHE_LINE);   /* atomic, see INVARIANT; acq_rel */
    uint32_t hungry;            /* atomic: workers waiting for work; a hint */
    uint32_t sleepers;          /* atomic: of them in futex wait; see worklist.c */
    uint32_t wake;              /* atomic: futex word, changes with every reason to look again */
    uint32_t overflowed;        /* atomic: an entry was dropped */
    uint32_t blocks;            /* atomic: ever allocated */
    uint32_t max_blocks;        /* constant while marking; UINT32_MAX: as many as memory allows */
};

/* A worker's own end of the list. */
struct work_local {
    struct work_block *top;     /* never NULL between work_local_open and _surrender */
    struct work_block *under;   /* full or empty, or NULL */
};

/* Takes a first block; false: no memory. */
bool work_local_open(struct worklist *list, struct work_local *local);
/* Gives all of it away, to `full` (by a busy worker) or to `shaded`; blocks without an entry just go back. */
void work_local_surrender(struct worklist *list, struct work_local *local, bool shaded);
/* Makes the shaded blocks work like any other.  The leader, busy.  False: there are none. */
bool worklist_take_shaded(struct worklist *list);

/* The slow halves of push and pop. */
bool work_make_room(struct worklist *list, struct work_local *local);
bool work_refill(struct worklist *list, struct work_local *local);

/* False: the entry was dropped, and `overflowed` is set.  There is always room
 * for one push after a successful pop. */
INLINE bool work_push(struct worklist *list, struct work_local *local, uintptr_t address,
                      size_t bytes)
{
    if (UNLIKELY(local->top->count == WORK_ENTRIES) && !work_make_room(list, local))
        return false;
    local->top->entries[local->top->count++] = (struct work){ address, bytes };
    return true;
}

/* The newest entry of the worker, or any shared one. */
INLINE bool work_pop(struct worklist *list, struct work_local *local, struct work *work)
{
    if (UNLIKELY(local->top->count == 0) && !work_refill(list, local))
        return false;
    *work = local->top->entries[--local->top->count];
    return true;
}

/* The same, of the worker's own entries alone. */
bool work_pop_own(struct work_local *local, struct work *work);

/* Is there a block on the shared stack? */
INLINE bool worklist_has_shared(const struct worklist *list)
{
    return load_relaxed(&list->full.head) << 16 >> 22 != 0;     /* an address in it? */
}

/* Is somebody waiting for work that the shared stack cannot satisfy? */
INLINE bool worklist_is_hungry(const struct worklist *list)
{
    return UNLIKELY(load_relaxed(&list->hungry) != 0) &&
           !worklist_has_shared(list);
}

/* Gives away half of what the worker has. */
void work_share(struct worklist *list, struct work_local *local);

/* The caller, with no work yet, is busy from now on. */
void worklist_enter(struct worklist *list);
/* A busy worker without an entry becomes idle.  True: it got a block and is
 * busy again; false: no work is left anywhere, and it is not busy. */
bool worklist_wait(struct worklist *list, struct work_local *local);

/* A busy worker that has surrendered its work leaves without waiting. */
void worklist_leave(struct worklist *list);

/* Forgets the work that is shared. */
void worklist_drop(struct worklist *list);
/* Forgets all work and all workers; in a forked child. */
void worklist_reset(struct worklist *list);
/* No worker is busy and no block is shared. */
bool worklist_is_empty(const struct worklist *list);

#endif
