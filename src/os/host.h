/* host.h -- what the machine is, and its clocks
 *
 * PURPOSE   Facts about processors and memory, and time, from places where libc
 *           may not be called: no function here touches errno or takes a lock.
 */
#ifndef GCALLOC_OS_HOST_H
#define GCALLOC_OS_HOST_H

#include "base/compiler.h"

/* Processors this process may run on; at least 1. */
unsigned host_cpus(void);

/* Linux of this version or a later one.  A distribution's kernel may have more than its version says. */
bool host_kernel_is(unsigned major, unsigned minor);

/* Nanoseconds of the monotonic clock: about 30 ns a call. */
uint64_t host_clock_ns(void);
/* Milliseconds of the same, as of the last tick: cheaper. */
uint64_t host_clock_coarse_ms(void);
/* Processor time spent by the calling task, and by the whole process: a system call each. */
uint64_t host_thread_cpu_ns(void);
uint64_t host_process_cpu_ns(void);

/* Physical memory of the machine; 0 when unknown. */
uint64_t host_physical_bytes(void);
/* The least memory limit of the control groups that the process is in, version 1 or 2, and of those
 * above them as far as they can be seen; UINT64_MAX: none.  `prefix` goes before every path: "". */
uint64_t host_cgroup_bytes(const char *prefix);
/* For GCALLOC_GOMEMLIMIT=auto: 90 percent of the least of that, RLIMIT_AS, RLIMIT_DATA and, if any
 * of them is set, physical memory.  INT64_MAX: none is set. */
int64_t host_auto_limit(void);
/* Something of somebody's is swapped out (or the kernel does not say). */
bool host_swap_in_use(void);

/* The most that the kernel puts on a stack to call a signal handler: 1 to 3.5 KiB, 11 where there is AMX. */
size_t host_signal_frame_bytes(void);

/* Lets the calling task read memory behind every protection key (pkeys(7)); returns what
 * host_restore_keys needs.  A signal handler, for one, starts with all keys but 0 denied. */
uint32_t host_open_keys(void);
void host_restore_keys(uint32_t saved);

#endif
