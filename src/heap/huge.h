/* huge.h -- huge pages for fresh spans of small blocks
 *
 * PURPOSE    Memory that a growing heap is about to fill comes in one piece of 2 MiB instead of 512
 *            page faults, and stays in it.  Only one such piece, the window, is ever ahead of
 *            what the spans use.
 * LOCKING    HEAP; functions named _locked want it held.
 * INVARIANT  Outside the window no fault of the heap brings a huge page, unless the system
 *            brings them everywhere, or below where the first window was.
 */
#ifndef GCALLOC_HEAP_HUGE_H
#define GCALLOC_HEAP_HUGE_H

#include "heap/span.h"

/* After a small span was cut out of the free pages, the caller's alone.  Where to huge_fault
 * once HEAP is released; 0: nowhere. */
uintptr_t huge_follow_locked(const struct span *span);
void huge_fault(uintptr_t at);
/* When the pages around the window have not been used for so long: it is closed, and what is left of it
 * counts as idle memory. */
void huge_close_locked(uint64_t idle_ms);

#endif
