/* roots.h -- every word that may hold a pointer, outside the heap
 *
 * PURPOSE    Hands the marker ranges of words: registers and stacks of stopped
 *            tasks, every readable private mapping that is not ours (data, bss,
 *            brk, TLS, the program's own mmaps; anonymous pages only, resident
 *            ones only), memory shared without a file, what only the kernel
 *            holds (epoll data, timers), and registered ranges.
 * LOCKING    roots_gather and roots_visit: one cycle at a time, world stopped for
 *            roots_visit.  Registration: ROOTS.
 * INVARIANT  (I8) when something cannot be read, roots_visit returns false and
 *            the cycle is abandoned.
 */
#ifndef GCALLOC_WORLD_ROOTS_H
#define GCALLOC_WORLD_ROOTS_H

#include "world/stop.h"

enum root_kind {
    ROOT_STACK,                 /* stacks and registers: one past the end counts as inside */
    ROOT_DATA,                  /* everything else */
};

/* Scans [low, high), 8-byte aligned, readable.  May be called with a buffer holding a copy. */
typedef void (*root_visitor)(void *context, enum root_kind kind, const uintptr_t *low,
                             const uintptr_t *high);

/* Reserves buffers and reads what can be read with the world running. False: no memory. */
bool roots_gather(void);
/* Visits all roots; the world is stopped.  Large ranges come in pieces of at most 128 KiB, so that
 * they can be shared out.  *why says what could not be read. */
bool roots_visit(root_visitor visit, void *context, const char **why);

bool roots_add(const void *low, const void *high);
/* Removes whatever of [low, high) was registered. */
void roots_remove(const void *low, const void *high);

struct roots_stats { size_t stack_bytes, data_bytes; };
/* Bytes visited by the last roots_visit. */
struct roots_stats roots_stats_last(void);

void roots_fork_child(void);

#endif
