/* fork.h -- a fork must not cut our structures in half
 *
 * PURPOSE    What happens around fork() on this floor.
 * LOCKING    Memory of the heap and of ours is only changed by (a) threads in the runtime,
 *            (b) tasks between runtime_enter_task and runtime_leave_task, (c) holders
 *            of THREADS.  Prepare shuts all three out, in this order, and WORLD, so that
 *            no stop is in progress; the forking thread and its child go on alone.
 *            So: no runtime_enter_task between world_stop and world_start, nor while
 *            inside already.
 */
#ifndef GCALLOC_WORLD_FORK_H
#define GCALLOC_WORLD_FORK_H

/* For pthread_atfork. */
void world_fork_prepare(void);
void world_fork_parent(void);
/* After the heap's own locks are reset. */
void world_fork_child(void);

#endif
