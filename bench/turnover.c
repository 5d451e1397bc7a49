/*
 * turnover -- what do blocks of all sizes cost among threads that come, share and go?
 *
 * After mstress of the mimalloc benchmarks. Each of T lines runs one thread after another. A thread
 * replaces blocks in a table of its own; every fourth block is swapped with one out of a table that
 * all threads share, so that it is freed by anybody, perhaps long after its thread has gone. At its
 * end a thread leaves what it has in the shared table, or frees it.
 * Sizes are 8 B to 32 KiB, log-uniform, and one in 1,000 is up to 1 MiB.
 * turnover_2: two lines, as many as this kind of machine has processors; turnover_8: eight.
 * ns of wall time per replacement, all lines together.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    MOST_LINES = 8,
    OWN_SLOTS = 200,
    SHARED_SLOTS = 1000,
    STEPS_PER_THREAD = 5000,
    KIB = 1024,
};

struct thread_line {
    HARNESS_APART uint64_t random;
    uint64_t threads;
};

static _Atomic(void *) shared[SHARED_SLOTS];

static void *block_make(uint64_t *random)
{
    if (harness_random_below(random, 1000) == 0)
        return harness_use(malloc(harness_random_size(random, 64 * KIB, 1024 * KIB)));
    return harness_use(malloc(harness_random_size(random, 8, 32 * KIB)));
}

static void *shared_swap(uint64_t *random, void *block)
{
    _Atomic(void *) *slot = &shared[harness_random_below(random, SHARED_SLOTS)];
    return atomic_exchange_explicit(slot, block, memory_order_acq_rel);
}

static void *turn_main(void *argument)
{
    struct thread_line *line = argument;
    void *own[OWN_SLOTS] = {NULL};
    for (unsigned i = 0; i < STEPS_PER_THREAD; i++) {
        void **slot = &own[harness_random_below(&line->random, OWN_SLOTS)];
        free(*slot);
        *slot = block_make(&line->random);
        if (i % 4 == 0)
            *slot = shared_swap(&line->random, *slot);
    }
    for (unsigned i = 0; i < OWN_SLOTS; i++)
        free(i % 4 == 0 ? shared_swap(&line->random, own[i]) : own[i]);
    return NULL;
}

static void *line_main(void *argument)
{
    struct thread_line *line = argument;
    for (uint64_t n = 0; n < line->threads; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, turn_main, line) != 0)
            harness_die("pthread_create failed");
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void turnover_run(void *argument, uint64_t threads_per_line)
{
    unsigned line_count = *(unsigned *)argument;
    struct thread_line lines[MOST_LINES];
    pthread_t threads[MOST_LINES];
    for (unsigned i = 0; i < line_count; i++) {
        lines[i] = (struct thread_line){88172645463325252 + i, threads_per_line};
        if (pthread_create(&threads[i], NULL, line_main, &lines[i]) != 0)
            harness_die("pthread_create failed");
    }
    for (unsigned i = 0; i < line_count; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < SHARED_SLOTS; i++)
        free(atomic_exchange_explicit(&shared[i], NULL, memory_order_acq_rel));
}

int main(int argc, char **argv)
{
    unsigned two = 2, eight = 8;
    harness_start(argc, argv);
    harness_time_wall("turnover_2", turnover_run, &two, 60, (uint64_t)2 * STEPS_PER_THREAD);
    harness_time_wall("turnover_8", turnover_run, &eight, 15, (uint64_t)8 * STEPS_PER_THREAD);
    harness_finish();
    return 0;
}
