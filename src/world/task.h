/* task.h -- the collector's own tasks: raw clones, unknown to libc
 *
 * PURPOSE    Runs a function in a task that shares memory and descriptors with
 *            the process, blocks all signals, has no libc thread state (no TLS,
 *            no errno: only base/sys.h calls), and ends when the function
 *            returns.  libc, setuid(), pthread_exit of the last thread and
 *            thread counters of the program do not know it.
 * LIFETIME   A task ends when its function returns.  The helpers of a cycle live as long as it
 *            marks; the collector's own task stays for a while (alloc/collector.c), and is
 *            ended where a second thread would be noticed.
 */
#ifndef GCALLOC_WORLD_TASK_H
#define GCALLOC_WORLD_TASK_H

#include "base/compiler.h"

/* Starts a task; false when the kernel refuses (RLIMIT_NPROC, pids cgroup, memory). */
bool task_spawn(void (*run)(void *argument), void *argument);
/* Number of our tasks alive. */
unsigned task_count(void);
/* Waits until no task of ours is left (unshare and its kin).  The caller is parked or holds no lock. */
void task_wait_all(void);
/* Tasks that exist but are not exempt yet (stop.h); they soon will be. */
unsigned task_starting(void);
void task_fork_child(void);

#endif
