/* roots.h -- every word that may hold a pointer, outside the heap
 *
 * PURPOSE    Hands the marker ranges of words: registers and stacks of stopped
 *            tasks, every readable private mapping that is not ours (data, bss,
 *            brk, TLS, the program's own mmaps; anonymous pages only, resident
 *            ones only), memory shared without a file, what only the kernel
 *            holds (epoll data, timers), and registered ranges.  What is left to
 *            io_uring cannot be had; that it was is found out.
 * LOCKING    roots_gather and roots_visit: one cycle at a time, world stopped for
 *            roots_visit.  Registration: ROOTS.
 * INVARIANT  (I8) when something cannot be read, roots_visit returns false and
 *            the cycle is abandoned.
 */
#ifndef GCALLOC_WORLD_ROOTS_H
#define GCALLOC_WORLD_ROOTS_H

#include "os/userfault.h"
#include "world/stop.h"

enum root_kind {
    ROOT_STACK,                 /* stacks and registers: one past the end counts as inside */
    ROOT_DATA,                  /* everything else: words at multiples of 4, as in stacks */
    ROOT_CODE,                  /* what a program compiled at run time: an address may be the operand
                                 * of an instruction, and stand at any byte */
};

/* Scans [low, high), 8-byte aligned, readable.  Consecutive pieces overlap by a word.
 * May be called with a buffer holding a copy. */
typedef void (*root_visitor)(void *context, enum root_kind kind, const uintptr_t *low,
                             const uintptr_t *high);

/* Reserves buffers.  World running.  False: no memory. */
bool roots_gather(void);
/* Visits all roots; the world is stopped.  Large ranges come in pieces of at most 128 KiB, so that
 * they can be shared out.  *why says what could not be read.  tracked: of the mappings that
 * roots_visit_running has armed in this cycle only what was written since is visited, and
 * what only the kernel holds is left out when roots_visit_running has visited it. */
bool roots_visit(root_visitor visit, void *context, bool tracked, const char **why);

/* World stopped, all that the roots lead to is marked, after roots_visit or roots_visit_uncopied: does a
 * request of io_uring name what is_lost is true for, so that the kernel alone has its address?  In doubt
 * yes. */
bool roots_left_to_kernel(bool (*is_lost)(uintptr_t word));

/* --- a cycle that marks beside the running program: see roots_running.c --- */

/* World running, before stop 1: looks for private mappings that are worth tracking and are not
 * registered with `userfault`.  False: there are none. */
bool roots_prepare_tracking(struct userfault *userfault);
/* Stop 1: registers those, not too many in one cycle. */
void roots_register_stopped(struct userfault *userfault);
/* Stop 1: registers and stacks of the stopped tasks.  A head start for the marker, no more:
 * what is not understood is left out. */
void roots_visit_stacks(root_visitor visit, void *context);
/* World running, by a task of ours with its own table of descriptors: everything but the
 * stacks.  Large private mappings that are registered are armed, each before it is read;
 * all is read by copying, for it may go away at any time, and that is no failure. */
void roots_visit_running(struct userfault *userfault, root_visitor visit, void *context);
/* World running, afterwards, any number of times: of the armed mappings what was written since,
 * which is armed anew.  Returns the bytes visited. */
size_t roots_visit_written(root_visitor visit, void *context);
/* World running, once the cycle has marked: what was armed is armed no more.  As in the heap (dirty.c)
 * that pays where one page in six is written until the next cycle: in a table that is being filled. */
void roots_disarm(struct userfault *userfault);

bool roots_add(const void *low, const void *high);
/* Removes whatever of [low, high) was registered. */
void roots_remove(const void *low, const void *high);

struct roots_stats { size_t stack_bytes, data_bytes; };
/* Bytes visited by the last roots_visit; if it was tracked, data_bytes are those that
 * roots_visit_running visited. */
struct roots_stats roots_stats_last(void);

void roots_fork_child(void);

#endif
