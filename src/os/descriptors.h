/* descriptors.h -- a table of file descriptors that the program does not see
 *
 * PURPOSE    The collector keeps descriptors from cycle to cycle.  In a table of its own they take no
 *            number from the program, nobody closes them by accident, no fork copies them; and
 *            the table holds nothing of the program's open.
 * OWNER      The collector's task, and the tasks that it starts.
 */
#ifndef GCALLOC_OS_DESCRIPTORS_H
#define GCALLOC_OS_DESCRIPTORS_H

#include "base/compiler.h"

/* Gives the calling task an empty table, of which 0 to 2 are a pidfd of the process: base/check.c
 * knows.  False: the table is still shared, for the kernel is older than 5.9, or for
 * descriptors_stay_shared. */
bool descriptors_unshare(void);
/* On the way to an empty table copies of the program's descriptors are closed.  That does nothing, but to a
 * message queue of which the process wants to be notified: it no longer is.  Any thread, while there is no
 * task of ours. */
void descriptors_stay_shared(void);

#endif
