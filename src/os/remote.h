/* remote.h -- read our own memory as if it were another process's
 *
 * PURPOSE    Memory that a load instruction might fault on (file mappings that
 *            somebody may truncate, swapped pages that may be guard pages) is
 *            copied by the kernel, which reports a failure instead of raising
 *            a signal.
 * OWNER      struct remote: the task that scans.
 */
#ifndef GCALLOC_OS_REMOTE_H
#define GCALLOC_OS_REMOTE_H

#include "base/compiler.h"

struct remote {
    int tid;                /* ours; the leader of the process may be a zombie without memory */
    int mem;                /* /proc/thread-self/mem, -1 while not needed */
    bool no_readv;          /* process_vm_readv is refused */
};

#define REMOTE_REFUSED (-1)     /* no way of reading is permitted */
#define REMOTE_NO_MEMORY (-2)   /* the program may read the first page, for all we know */

void remote_open(struct remote *remote);
void remote_close(struct remote *remote);
/* Copies from address; stops at the first page that cannot be read.  Returns the bytes copied, 0 when the
 * program could not read the first page either, or one of the above. */
long remote_read(struct remote *remote, void *to, uintptr_t from, size_t bytes);
/* The same, past PROT_NONE. */
long remote_read_forced(struct remote *remote, void *to, uintptr_t from, size_t bytes);

#endif
