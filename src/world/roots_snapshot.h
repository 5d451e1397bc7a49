/* roots_snapshot.h -- roots of a process that is about to be copied (os/copy.h)
 *
 * PURPOSE    The copy sees private memory as it was, and roots_visit in it finds what is there.  What
 *            it does not see, or would see too late, is visited before it is made.
 * OWNER      The task that runs the cycle.
 */
#ifndef GCALLOC_WORLD_ROOTS_SNAPSHOT_H
#define GCALLOC_WORLD_ROOTS_SNAPSHOT_H

#include "world/roots.h"

enum { UNCOPIED_RANGES = 32 };

/* Private memory that is not copied: MADV_DONTFORK, MADV_WIPEONFORK. */
struct uncopied {
    struct { uintptr_t low, high; } ranges[UNCOPIED_RANGES];
    uint32_t count;
    bool too_much;              /* to be scanned in a stop, or part of the heap */
};

/* World stopped, before the copy is made: memory shared with others, stacks there, what only the
 * kernel holds, registered ranges, and what is known not to be copied.  False: something cannot be
 * read, or the program tracks memory itself (its monitor could have to answer the clone, in
 * a stopped world). */
bool roots_visit_uncopied(root_visitor visit, void *context, const char **why);
/* In the copy, first of all.  False: something private was not copied and has not been visited;
 * it is in `found`, for roots_note_uncopied. */
bool roots_check_copied(struct uncopied *found);
/* False: there is too much of it. */
bool roots_note_uncopied(const struct uncopied *found);

#endif
