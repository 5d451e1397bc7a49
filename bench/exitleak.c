/*
 * exitleak -- what becomes of the blocks, and of the memory around them, of a thread that ends?
 *
 * After mleak of the mimalloc benchmarks; threads run one after another.
 * exit_inherit: a thread allocates 1,000 mixed blocks and ends; the next one frees them, and leaves
 *   1,000 of its own. ns of processor time per thread.
 * exit_pinned: a thread allocates 1,000 mixed blocks, frees all but 10 and ends; the 10 are never
 *   freed. ns of processor time per thread.
 * exit_pinned_rss: the RSS that 2,000 such threads add, over the bytes of the blocks left alive. An
 *   allocator that finds the free room around them again stays near 1; one that gives every
 *   thread fresh pages does not.
 * The blocks left stay in a static table: for a collector they are in use.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { BLOCKS = 1000, PINNED = 10, MOST_THREADS = 20000, RSS_THREADS = 2000 };

struct exit_work {
    uint64_t random;
    uint64_t pinned_bytes;
    unsigned threads;
};

/* Used by one thread at a time; the join orders them. */
static void *left_blocks[BLOCKS];
static void *pinned_blocks[MOST_THREADS][PINNED];

static void *block_make(struct exit_work *work, size_t *size)
{
    *size = harness_random_size(&work->random, 16, 2048);
    return harness_use(malloc(*size));
}

static void left_free(void)
{
    for (int i = 0; i < BLOCKS; i++) {
        free(left_blocks[i]);
        left_blocks[i] = NULL;
    }
}

static void *inherit_main(void *argument)
{
    size_t size;
    left_free();
    for (int i = 0; i < BLOCKS; i++)
        left_blocks[i] = block_make(argument, &size);
    return NULL;
}

static void *pinned_main(void *argument)
{
    struct exit_work *work = argument;
    void **pinned = pinned_blocks[work->threads++];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size;
        void *block = block_make(work, &size);
        if (i % (BLOCKS / PINNED) == 0) {
            pinned[i / (BLOCKS / PINNED)] = block;
            work->pinned_bytes += size;
        } else {
            left_blocks[i] = block;
        }
    }
    left_free();
    return NULL;
}

static void threads_run(void *(*body)(void *), struct exit_work *work, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, body, work) != 0)
            harness_die("pthread_create failed");
        pthread_join(thread, NULL);
    }
}

static void inherit_run(void *argument, uint64_t count)
{
    threads_run(inherit_main, argument, count);
}

/* The blocks of earlier repetitions are freed: each repetition starts with an empty table. */
static void pinned_release(struct exit_work *work)
{
    for (unsigned n = 0; n < work->threads; n++)
        for (int i = 0; i < PINNED; i++)
            free(pinned_blocks[n][i]);
    work->threads = 0;
    work->pinned_bytes = 0;
}

static void pinned_run(void *argument, uint64_t count)
{
    pinned_release(argument);
    threads_run(pinned_main, argument, count < MOST_THREADS ? count : MOST_THREADS);
}

static void pinned_report(struct exit_work *work)
{
    if (!harness_wants("exit_pinned_rss"))
        return;
    uint64_t before_bytes = harness_rss_bytes();
    pinned_run(work, harness_scaled(RSS_THREADS));
    uint64_t after_bytes = harness_rss_bytes();
    double grown = after_bytes > before_bytes ? (double)(after_bytes - before_bytes) : 0;
    harness_report("exit_pinned_rss", "x", grown / (double)work->pinned_bytes);
}

int main(int argc, char **argv)
{
    struct exit_work inherit = {.random = 88172645463325252};
    struct exit_work pinned = {.random = 362436069};
    harness_start(argc, argv);
    pinned_report(&pinned);
    harness_time("exit_inherit", inherit_run, &inherit, 600, 1);
    harness_time("exit_pinned", pinned_run, &pinned, 600, 1);
    harness_finish();
    return 0;
}
