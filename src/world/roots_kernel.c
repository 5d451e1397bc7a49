/* roots_kernel.c -- words that only the kernel holds; see roots_scan.h
 *
 * What waits in a pipe is on its way to a thread that reads it, and may have to wait for long.  The rule that
 * a malloc block must be found unreachable by two cycles covers what comes into the pipe after a cycle has
 * looked, and what cannot be looked at.
 *
 * epoll_event.data and sigevent.sigev_value are in no memory of the process
 * between the call that stored them and the one that delivers them.  So is the address
 * of an alternate signal stack; a thread stopped by signal has it in its frame, for
 * parked ones it was noted when it was set.
 */
#include "base/bits.h"
#include "world/roots_scan.h"

struct word_batch {
    struct roots_scan *scan;
    size_t used;
    uintptr_t words[128];
};

static void flush(struct word_batch *batch)
{
    roots_emit(batch->scan, ROOT_DATA, (uintptr_t)batch->words,
               (uintptr_t)(batch->words + batch->used), ACCESS_LOAD);
    batch->used = 0;
}

static void take_word(void *context, uintptr_t word)
{
    struct word_batch *batch = context;

    if (batch->used == sizeof batch->words / sizeof batch->words[0])
        flush(batch);
    batch->words[batch->used++] = word;
}

static void take_alternate_stacks(struct word_batch *batch)
{
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    for (size_t i = 0; i < count; i++)
        if (tasks[i].thread != NULL && tasks[i].thread->alternate_stack != 0)
            take_word(batch, tasks[i].thread->alternate_stack);
}

void roots_visit_alternate_stacks(struct roots_scan *scan)
{
    struct word_batch batch = { .scan = scan, .used = 0 };

    take_alternate_stacks(&batch);
    flush(&batch);
}

/* The words of a message may stand anywhere. */
static void take_bytes(void *context, const char *bytes, size_t count)
{
    struct word_batch *batch = context;
    uintptr_t low = (uintptr_t)bytes;

    roots_emit(batch->scan, ROOT_CODE, low, align_up(low + count, sizeof(uintptr_t)), ACCESS_LOAD);
}

bool roots_visit_held(struct roots_scan *scan, bool running, int userfault, bool *foreign)
{
    struct word_batch batch = { .scan = scan, .used = 0 };
    struct descriptor_walk walk = {
        .running = running, .own_userfault = userfault, .visit = take_word,
        .visit_pipe = scan->lasting ? NULL : take_bytes, .context = &batch,
    };
    bool complete = proc_visit_descriptors(scan->scratch, &walk);

    *foreign = !complete || walk.userfault_seen;
    if (!complete) {
        scan->why = "/proc/self/fd or an epoll descriptor in fdinfo cannot be read";
        return false;
    }
    flush(&batch);
    if (!proc_visit_timers(scan->scratch, running, take_word, &batch)) {
        scan->why = "/proc/self/timers cannot be read";
        return false;
    }
    flush(&batch);
    return true;
}
