/* dirty.h -- which heap pages the program has written to
 *
 * PURPOSE    Dirty tracking for the objects whose pointer stores nobody tells us: malloc blocks,
 *            and gc_alloc objects under GCALLOC_BARRIER=pages.  The whole reservation is
 *            registered once (2 us); the pages of such spans that are in memory are armed
 *            at the start of a cycle; later a list of what was written since is
 *            fetched and scanned again.
 * OWNER      The collector's task, in whose private table of descriptors ours are.
 * INVARIANT  (I1) A page is armed before an object on it is marked, or not armed before it is scanned
 *            again; it is fetched, and armed again, before that.  What was never armed counts as
 *            written.
 */
#ifndef GCALLOC_GC_DIRTY_H
#define GCALLOC_GC_DIRTY_H

#include "os/userfault.h"

/* Ready for a cycle?  Opens what is needed.  False: not to be had on this system. */
bool dirty_open(void);
/* Gives everything up; the pages are not tracked any more. */
void dirty_close(void);
struct userfault *dirty_userfault(void);

/* World running, in pieces, so that the program's mmap calls do not wait for long.  False: refused. */
bool dirty_arm(void);
/* Rescans (mark.h) what was written since it was armed.  rearm: the world runs, and what is
 * rescanned is armed again.  Otherwise it is stopped, everything stays as written, and the
 * function gives up when there are more than max_pages, of which it has scanned none, or few.
 * Returns how many pages (of 4096 bytes) there were, more than max_pages when it gave up; -1: tracking
 * was lost. */
long dirty_rescan(bool rearm, long max_pages);
/* After stop 2, world running, in pieces too: nothing is armed any more, and the program's next writes
 * cost no fault. */
void dirty_disarm(void);
void dirty_fork_child(void);

#endif
