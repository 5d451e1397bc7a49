/*
 * falseshare -- do two threads write into one cache line because of the allocator?
 *
 * After cache-thrash and cache-scratch of Berger et al., "Hoard" (2000). Two threads at once.
 * share_active: each allocates 8 bytes, writes them 1,000 times and frees them, again and again.
 *   An allocator that cuts one cache line up for two threads makes every write a miss.
 * share_passive: each first frees a block that the main thread allocated, one beside the other:
 *   an allocator that lets a thread use again what it freed brings the sharing about itself.
 * share_kept: the threads take turns in allocating 64 blocks of 8 bytes each and keep them, as
 *   two workers that start at the same time do; then both write theirs.
 * ns per 1,000 writes, all else included: 1,000 to 2,000 when nothing is shared, else many more.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 2, WRITES = 1000, KEPT_BLOCKS = 64, SIZE = 8 };

struct share_work {
    void *given; /* allocated by the main thread; NULL: none */
    uint64_t iterations;
};

static pthread_barrier_t all_there;
static pthread_barrier_t turn_over;

static void block_write(volatile char *block, unsigned writes)
{
    for (unsigned i = 0; i < writes; i++)
        block[i % SIZE]++;
}

static void *pair_main(void *argument)
{
    const struct share_work *work = argument;
    free(work->given);
    pthread_barrier_wait(&all_there);
    for (uint64_t i = 0; i < work->iterations; i++) {
        char *block = harness_use(malloc(SIZE));
        block_write(block, WRITES);
        free(block);
    }
    return NULL;
}

static void *kept_main(void *argument)
{
    const struct share_work *work = argument;
    void *kept[KEPT_BLOCKS];
    for (int i = 0; i < KEPT_BLOCKS; i++) {
        kept[i] = harness_use(malloc(SIZE));
        pthread_barrier_wait(&turn_over);
    }
    for (uint64_t i = 0; i < work->iterations; i++)
        for (int b = 0; b < KEPT_BLOCKS; b++)
            block_write(kept[b], WRITES / KEPT_BLOCKS + 1);
    for (int i = 0; i < KEPT_BLOCKS; i++)
        free(kept[i]);
    return NULL;
}

static void threads_run(void *(*body)(void *), struct share_work *work)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, body, &work[i]) != 0)
            harness_die("pthread_create failed");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void active_run(void *argument, uint64_t iterations)
{
    struct share_work work[THREADS] = {{NULL, iterations}, {NULL, iterations}};
    (void)argument;
    threads_run(pair_main, work);
}

static void passive_run(void *argument, uint64_t iterations)
{
    struct share_work work[THREADS];
    (void)argument;
    for (int i = 0; i < THREADS; i++)
        work[i] = (struct share_work){harness_use(malloc(SIZE)), iterations};
    threads_run(pair_main, work);
}

static void kept_run(void *argument, uint64_t iterations)
{
    struct share_work work[THREADS] = {{NULL, iterations}, {NULL, iterations}};
    (void)argument;
    threads_run(kept_main, work);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    pthread_barrier_init(&all_there, NULL, THREADS);
    pthread_barrier_init(&turn_over, NULL, THREADS);
    harness_time_wall("share_active", active_run, NULL, 20000, 1);
    harness_time_wall("share_passive", passive_run, NULL, 20000, 1);
    harness_time_wall("share_kept", kept_run, NULL, 20000, 1);
    harness_finish();
    return 0;
}
