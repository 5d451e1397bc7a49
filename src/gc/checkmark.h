/* checkmark.h -- a second, simple marker that checks the first
 *
 * PURPOSE    GCALLOC_DEBUG=gccheckmark=1.  When the marking of a cycle is complete, everything is
 *            marked again: alone, with the world stopped, from all roots, whatever was or was
 *            not written, into bits of its own.  An object that is reached and has no mark bit
 *            would be freed by the sweep while the program has it: the process dies, and the
 *            message names the object and the word that names it.
 * LOCKING    One cycle at a time; World stopped where the name says so.
 * INVARIANT  Nothing of the heap is changed.  To reach no more than the program does, it must find
 *            no stale words in slots that were handed out while the cycle marked: with
 *            gccheckmark=1 the slow paths clear what they hand out.
 */
#ifndef GCALLOC_GC_CHECKMARK_H
#define GCALLOC_GC_CHECKMARK_H

#include "base/compiler.h"

/* World running: memory for the check.  False: none; the check of this cycle is left out. */
bool checkmark_prepare(void);
/* After the last root was traced, before sweep_begin_stopped.  Dies if an object was missed. */
void checkmark_stopped(void);

/* When the marks are those of an earlier moment (a snapshot), the check is in two parts: what is
 * reachable at that moment is remembered, and compared when the marks are there.  What was
 * freed in between is not missed. */
void checkmark_record_stopped(void);
/* In the same stop, when the snapshot is made. */
void checkmark_confirm_stopped(void);
void checkmark_compare_stopped(void);

#endif
