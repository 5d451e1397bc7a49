/* copy.h -- a copy of the process as it is at one moment
 *
 * PURPOSE    A child made by a raw clone: it has the memory as it was, copied on write, and shares the
 *            table of descriptors with the task that made it, so it holds nothing of the
 *            program's open.  No handler of pthread_atfork runs; its end sends no SIGCHLD, and
 *            wait() does not see it (only with __WALL).  It has one task and all signals
 *            blocked, and uses raw system calls only.
 * LIFETIME   It ends when its parent's task does.
 */
#ifndef GCALLOC_OS_COPY_H
#define GCALLOC_OS_COPY_H

#include "base/compiler.h"

/* The caller, which blocks all signals, is copied.  0: this is the copy; otherwise its number, or
 * -errno. */
long copy_start(void);
/* In the copy, first of all: it ends with `parent`, the process that was copied, and leaves no core. */
void copy_settle(int parent);
NORETURN void copy_exit(void);

struct copy_end {
    bool exited;                /* by copy_exit, or somebody else has waited for it */
    uint64_t cpu_ns;            /* 0: unknown */
};

/* Waits until it has ended; nothing is left of it. */
struct copy_end copy_await(long copy);

/* The range, which must be ours and mapped, becomes memory shared with copies made from now on; it
 * reads as zero.  False: refused, and nothing has changed. */
bool copy_share(void *address, size_t bytes);
/* It becomes private memory again, empty. */
void copy_unshare(void *address, size_t bytes);

#endif
