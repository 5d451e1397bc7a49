/* pages_release.h -- between the page heap and what returns its memory
 *
 * PURPOSE  The few things that pages.c, runs.c and pages_release.c know of each other.
 */
#ifndef GCALLOC_HEAP_PAGES_RELEASE_H
#define GCALLOC_HEAP_PAGES_RELEASE_H

#include "base/lock.h"
#include "heap/chunk.h"
#include "heap/pages.h"

extern struct lock pages_lock;          /* HEAP */
/* HEAP; released_pages and largest_free_run are only set by pages_stats_read. */
extern struct pages_stats pages_stats;
extern size_t pages_idle;               /* HEAP: free pages that hold memory */
extern size_t pages_kept;               /* HEAP: pages of large objects that were freed and kept whole */

/* What pages_free has kept whole becomes free runs. */
void pages_file_kept_locked(void);

/* After pages have come to hold memory: by how many that is more than the memory limit allows. */
size_t pages_over_limit_locked(void);
/* Returns that many, idle or not, without HEAP. */
void pages_release_over_limit(size_t pages);
/* After pages have become free: the function to call without HEAP, or NULL. */
void (*pages_waker_locked(void))(void);
void pages_release_fork_child(void);

#endif
