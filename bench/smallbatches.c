/*
 * smallbatches -- what do many small batches cost, each of one size, freed in order or in reverse?
 *
 * After sh6bench and sh8bench of MicroQuill. A lap allocates a batch: 20 to 119 blocks of one
 * size, 1 to 1,000 bytes, small ones more often. The last 64 batches live; each new one takes the
 * place of one of them, which is freed, by turns from its first and from its last block.
 * sh6_1thr, sh6_2thr: each thread frees its own batches. sh8_2thr, sh8_8thr: every second batch is
 *   swapped with one that another thread left, and so freed elsewhere.
 * ns per block (one malloc and one free): of processor time for sh6, of wall time for sh8, all
 * threads together.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_THREADS = 8, LIVE_BATCHES = 64, LEAST_BLOCKS = 20, MOST_BLOCKS = 120, SWAP_SLOTS = 32 };

/* What a lap makes on average, to turn laps into blocks. */
enum { MEAN_BLOCKS = (LEAST_BLOCKS + MOST_BLOCKS - 1) / 2 };

struct batch {
    unsigned count;
    void *blocks[MOST_BLOCKS];
};

struct batch_thread {
    HARNESS_APART struct batch batches[LIVE_BATCHES];
    struct batch *live[LIVE_BATCHES];
    uint64_t random;
    uint64_t laps;
    bool is_sharing;
};

/* Static so that a collector sees the blocks. */
static struct batch_thread batch_threads[MOST_THREADS];
static struct batch spare_batches[SWAP_SLOTS];
static _Atomic(struct batch *) swaps[SWAP_SLOTS];

static void batch_free(struct batch *batch, bool in_order)
{
    for (unsigned i = 0; i < batch->count; i++)
        free(batch->blocks[in_order ? i : batch->count - 1 - i]);
    batch->count = 0;
}

static void batch_fill(struct batch *batch, uint64_t *random)
{
    size_t size = harness_random_size(random, 1, 1024);
    batch->count = LEAST_BLOCKS + harness_random_below(random, MOST_BLOCKS - LEAST_BLOCKS);
    for (unsigned i = 0; i < batch->count; i++)
        batch->blocks[i] = harness_use(malloc(size));
}

static void *laps_main(void *argument)
{
    struct batch_thread *self = argument;
    for (uint64_t lap = 0; lap < self->laps; lap++) {
        unsigned at = harness_random_below(&self->random, LIVE_BATCHES);
        batch_free(self->live[at], lap % 2 == 0);
        batch_fill(self->live[at], &self->random);
        if (!self->is_sharing || lap % 2 == 0)
            continue;
        unsigned slot = harness_random_below(&self->random, SWAP_SLOTS);
        self->live[at] = atomic_exchange_explicit(&swaps[slot], self->live[at],
                                                  memory_order_acq_rel);
    }
    return NULL;
}

static void thread_prepare(unsigned number, uint64_t laps, bool is_sharing)
{
    struct batch_thread *thread = &batch_threads[number];
    thread->random = 88172645463325252 + number;
    thread->laps = laps;
    thread->is_sharing = is_sharing;
    for (unsigned i = 0; i < LIVE_BATCHES; i++)
        if (thread->live[i] == NULL)
            thread->live[i] = &thread->batches[i];
}

static void threads_run(unsigned count, uint64_t laps, bool is_sharing)
{
    pthread_t threads[MOST_THREADS];
    for (unsigned i = 0; i < count; i++)
        thread_prepare(i, laps, is_sharing);
    for (unsigned i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, laps_main, &batch_threads[i]) != 0)
            harness_die("pthread_create failed");
    laps_main(&batch_threads[0]);
    for (unsigned i = 1; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void own_run(void *argument, uint64_t laps)
{
    threads_run(*(unsigned *)argument, laps, false);
}

static void shared_run(void *argument, uint64_t laps)
{
    threads_run(*(unsigned *)argument, laps, true);
}

int main(int argc, char **argv)
{
    unsigned one = 1, two = 2, eight = 8;
    harness_start(argc, argv);
    for (unsigned i = 0; i < SWAP_SLOTS; i++)
        atomic_init(&swaps[i], &spare_batches[i]);
    harness_time("sh6_1thr", own_run, &one, 20000, MEAN_BLOCKS);
    harness_time("sh6_2thr", own_run, &two, 20000, 2 * MEAN_BLOCKS);
    harness_time_wall("sh8_2thr", shared_run, &two, 10000, 2 * MEAN_BLOCKS);
    harness_time_wall("sh8_8thr", shared_run, &eight, 2500, 8 * MEAN_BLOCKS);
    harness_finish();
    return 0;
}
