/* filter.h -- a filter of system calls that was there before the program began
 *
 * PURPOSE  A service may be started under a seccomp filter that kills at the first call that it does not
 *          know (SystemCallFilter= of systemd).  Containers have filters, too, that refuse, which we can
 *          live with.  Only trying tells them apart.
 */
#ifndef GCALLOC_OS_FILTER_H
#define GCALLOC_OS_FILTER_H

#include "base/compiler.h"

/* May a system call that a plain malloc does not make be the end of the process?  Reads /proc; if there is
 * a filter, a copy of the process tries them.  By raw system calls, from anywhere; it takes 30 us, or some
 * milliseconds. */
bool filter_kills(void);

#endif
