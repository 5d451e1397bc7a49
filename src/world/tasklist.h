/* tasklist.h -- what the kernel says about the tasks of this process
 *
 * PURPOSE    The list in /proc/self/task, and the state of one task.  Raw system calls
 *            and 4 KiB of stack; works in a stopped world.
 * INVARIANT  TASKLIST_COMPLETE: as many tasks were visited as the process has after the
 *            visit.  If each of them was stopped, or a task that makes no program threads,
 *            then nobody was missed: a task that ends while the directory is read can cut the
 *            reading short, and that shows in the number.
 */
#ifndef GCALLOC_WORLD_TASKLIST_H
#define GCALLOC_WORLD_TASKLIST_H

#include "base/compiler.h"

enum tasklist_result { TASKLIST_REFUSED, TASKLIST_CHANGED, TASKLIST_COMPLETE };

enum tasklist_result tasklist_read(void (*visit)(void *context, int tid), void *context);

struct task_status {
    char state;             /* R, S, D, T, t, Z, X, ...; 0 when there is no such task */
    uint64_t blocked;       /* signal mask, bit 0 is signal 1 */
};

struct task_status task_status_read(int tid);
/* Workers of io_uring, vhost and KVM are tasks of the process, and listed with its threads: they block all
 * signals, and never run its code. */
bool task_is_kernels(int tid);
/* CPU time it had so far; 0 when unknown. */
uint64_t task_cpu_ns(int tid);

#endif
