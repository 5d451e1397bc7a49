/* fork.c -- see fork.h
 *
 * LIFETIME   The child has one thread.  A stop in progress cannot be cut: WORLD is held.
 *            Tasks of ours do not exist in the child.
 * INVARIANT  (I3) Another thread may be in a fast path when the process is copied.  What the
 *            child sees of its cache is what a stop at some instruction would have shown: stores
 *            of one thread become visible in order, and one that has to wait for the copying
 *            (a fault) holds up all later ones.
 */
#include "world/fork.h"

#include "base/check.h"
#include "world/stop.h"
#include "world/task.h"

/* Between prepare and its counterpart the forking thread counts as inside the runtime: it may
 * allocate although the gate is closed.  A depth of 2 or more tells the other case: a
 * fork in a signal handler that interrupted one of our slow paths (or a fork).  To wait for the
 * others there could be to wait for ourselves; that child gets the heap as it is. */
void world_fork_prepare(void)
{
    struct thread *self = thread_attach();

    if (self != NULL && self->in_runtime > 0) {
        self->in_runtime++;
        return;
    }
    runtime_gate_close();
    world_lock();
    threads_lock();
    if (self != NULL)
        store_relaxed(&self->in_runtime, 1);
}

/* True when the fork that ends was the nested one. */
static bool leave_nested(void)
{
    struct thread *self = thread_self;

    if (self == NULL || self == &thread_none)
        return false;
    CHECK(self->in_runtime > 0);
    store_relaxed(&self->in_runtime, self->in_runtime - 1);
    return self->in_runtime > 0;
}

void world_fork_parent(void)
{
    if (leave_nested())
        return;
    threads_unlock();
    world_unlock();
    runtime_gate_open();
}

void world_fork_child(void)
{
    leave_nested();
    stop_fork_child();
    task_fork_child();
    thread_fork_child();
}
