/* stop.h -- stop the world, look at it, start it
 *
 * PURPOSE    Every task of the process except the collector's own is parked: in
 *            the stop handler, at the end of a slow path, or held in a blocked
 *            region.  Tasks that were never announced are found in
 *            /proc/self/task.  See stop_protocol.h for the protocol and its argument.
 * LOCKING    WORLD, held from world_stop to world_start.
 * INVARIANT  (I7) between the two: no malloc, no libc lock, no stdio, no
 *            dl_iterate_phdr.  (I8) when a task cannot be stopped, world_stop
 *            restarts the others and returns false: the cycle is abandoned.
 */
#ifndef GCALLOC_WORLD_STOP_H
#define GCALLOC_WORLD_STOP_H

#include "world/thread.h"

enum { RED_ZONE = 128 };         /* bytes below the stack pointer that a function may use unasked */

/* One stopped task. */
struct stopped_task {
    int tid;
    struct thread *thread;      /* NULL: never announced, never allocated */
    uintptr_t sp;               /* the program's, less the red zone: the live stack is above */
    uintptr_t frame_low, frame_high;    /* saved registers, when not above sp; else 0 */
};

/* Installs the stop handler.  From the constructor. */
bool world_init(void);
/* From now on stop signals are handled on the threads' own stacks.  Async-signal-safe. */
void world_avoid_alternate_stacks(void);

/* The caller is a collector task, or a thread that has parked itself (then it is one of the
 * stopped tasks; its signals are blocked until world_start).  False: somebody could not be
 * stopped; nothing is stopped.  *why then says which and why, for gctrace. */
bool world_stop(const char **why);
void world_start(void);

/* The tasks stopped by the last world_stop; valid until world_start. */
const struct stopped_task *world_tasks(size_t *count);

/* Parks the calling thread because stop_pending was found; from runtime_leave. */
void world_park_self(struct thread *thread);
/* Waits for the restart; called by thread_unpark on HELD. */
void world_wait_held(struct thread *thread);

/* Tasks of ours, which are never stopped.  From the task, before it does anything; and when
 * it ends. */
void world_exempt(int tid);
void world_unexempt(int tid);

/* Some stop has found that the first thread has ended by pthread_exit.  Any thread. */
bool world_first_has_ended(void);

/* In the forked child: nothing is stopped, nobody is exempt. */
void stop_fork_child(void);
/* WORLD, for fork.c: no stop happens while it is held.  Not in the runtime. */
void world_lock(void);
void world_unlock(void);

#endif
