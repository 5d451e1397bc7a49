/* userfault.h -- the memory whose writes are tracked
 *
 * PURPOSE    Registers ranges with a userfaultfd in its asynchronous write-protect mode: the kernel
 *            notes the first write to an armed page (pagemap.h) and lets it through; no
 *            thread ever waits for us, and system calls that write are noted too.  Needs no
 *            privilege, and Linux 6.7.
 * OWNER      struct userfault: the collector's own task, in whose private table the descriptor is.
 *            Closing it unregisters everything (8 ms a GiB, during which page faults wait).
 *
 * A mapping that mremap moves loses its registration.  If it becomes one with a neighbour by that (it was
 * moved away, and back), so does the neighbour, whose armed pages keep their marks: the next write makes
 * them writable, and leaves the mark.  Registered again they would count as not written, and armed they
 * would stay writable.  So what is registered is disarmed before it is armed: that takes the marks.
 */
#ifndef GCALLOC_OS_USERFAULT_H
#define GCALLOC_OS_USERFAULT_H

#include "base/compiler.h"

struct userfault {
    int fd;                     /* -1: none */
};

/* False: the kernel is too old, or a filter of system calls forbids it. */
bool userfault_open(struct userfault *userfault);
void userfault_close(struct userfault *userfault);
/* Registers what is mapped in [low, high), private and writable or not; again does no harm.
 * 0; -EBUSY: the program tracks it itself; or another -errno. */
long userfault_register(struct userfault *userfault, uintptr_t low, uintptr_t high);
/* Takes back the arming of [low, high): its pages count as written, and the next writes to them cost
 * no fault. The kernel stops where memory is not registered.  0 or -errno. */
long userfault_disarm(struct userfault *userfault, uintptr_t low, uintptr_t high);

#endif
