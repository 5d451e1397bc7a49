/* roots.h -- every word that may hold a pointer, outside the heap
 *
 * PURPOSE    Hands the marker ranges of words: registers and stacks of stopped
 *            tasks, every readable private mapping that is not ours (data, bss,
 *            brk, TLS, the program's own mmaps; anonymous pages only, resident
 *            ones only), memory shared without a file, what only the kernel
 *            holds (epoll data, timers, what waits in pipes), and registered ranges.
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
enum which_roots {
    ROOTS_ALL,
    ROOTS_TRACKED,              /* of the mappings that roots_visit_running has armed in this cycle only
                                 * what was written since; what only the kernel holds not at all, if
                                 * roots_visit_running has visited it */
    ROOTS_LASTING,              /* all but what waits in pipes, which a cycle need not have seen */
};

/* Visits roots; the world is stopped.  Large ranges come in pieces of at most 128 KiB, so that
 * they can be shared out.  *why says what could not be read. */
bool roots_visit(root_visitor visit, void *context, enum which_roots which, const char **why);

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

/* Was a library that keeps pointers as distances loaded, at any time when the mappings were read so far? */
bool roots_keep_distances(void);
/* World stopped, all that the roots lead to is marked: may the program have pointers that nobody can find?
 * It has loaded a library that hides them, or may have given something to io_uring or libaio alone, or
 * roots_will_hide was called.  is_lost: the word names an object that was not reached.  Mappings as they
 * were when the roots were last visited. */
bool roots_hide(bool (*is_lost)(uintptr_t word));
void roots_will_hide(void);

bool roots_add(const void *low, const void *high);
/* Removes whatever of [low, high) was registered. */
void roots_remove(const void *low, const void *high);

struct roots_stats { size_t stack_bytes, data_bytes; };
/* Bytes visited by the last roots_visit; if it was of ROOTS_TRACKED, data_bytes are those that
 * roots_visit_running visited. */
struct roots_stats roots_stats_last(void);

void roots_fork_child(void);

#endif
