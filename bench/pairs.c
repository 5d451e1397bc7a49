/*
 * pairs -- what does one malloc and its free cost when nothing else happens?
 *
 * pair_N: malloc(N), touch, free, in a loop: the same block comes back each time.
 * live_N: the same with 64 blocks of that size alive, so that the pair meets a half-used page.
 * pair_64_2thr: two threads at once, each with its own blocks; processor time, too: what they do to
 *   each other shows in it, how the kernel places them does not.
 * pair_none: the loop alone, with empty functions in place of malloc and free: the part of the
 *   instruction counts that is not the allocator's.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { LIVE_BLOCKS = 64 };

struct pair_case {
    const char *name;
    size_t size;
    uint64_t iterations;
    bool has_live_blocks;
};

struct pair_work {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
    size_t size;
};

static const struct pair_case cases[] = {
    {"pair_8", 8, 2000000, false},         {"pair_16", 16, 2000000, false},
    {"pair_64", 64, 2000000, false},       {"pair_256", 256, 2000000, false},
    {"pair_1024", 1024, 2000000, false},   {"pair_4096", 4096, 1000000, false},
    {"pair_16384", 16384, 1000000, false}, {"pair_65536", 65536, 500000, false},
    {"live_16", 16, 2000000, true},        {"live_64", 64, 2000000, true},
    {"live_1024", 1024, 1000000, true},    {"live_16384", 16384, 500000, true},
};

static void *none_allocate(size_t size)
{
    static char block[16];
    (void)size;
    return block;
}

static void none_release(void *block)
{
    (void)block;
}

static void pair_loop(void *argument, uint64_t iterations)
{
    const struct pair_work *work = argument;
    for (uint64_t i = 0; i < iterations; i++) {
        void *block = work->allocate(work->size);
        harness_touch(block);
        work->release(block);
    }
}

static void live_loop(void *argument, uint64_t iterations)
{
    const struct pair_work *work = argument;
    void *live[LIVE_BLOCKS];
    for (int i = 0; i < LIVE_BLOCKS; i++)
        live[i] = harness_use(work->allocate(work->size));
    pair_loop(argument, iterations);
    for (int i = 0; i < LIVE_BLOCKS; i++)
        work->release(live[i]);
}

struct thread_work {
    HARNESS_APART struct pair_work pair;
    uint64_t iterations;
};

static void *thread_main(void *argument)
{
    struct thread_work *work = argument;
    pair_loop(&work->pair, work->iterations);
    return NULL;
}

static void two_threads(void *argument, uint64_t iterations)
{
    struct thread_work work = {*(struct pair_work *)argument, iterations};
    pthread_t other;
    if (pthread_create(&other, NULL, thread_main, &work) != 0)
        harness_die("pthread_create failed");
    pair_loop(argument, iterations);
    pthread_join(other, NULL);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pair_work work = {malloc, free, cases[i].size};
        harness_time(cases[i].name, cases[i].has_live_blocks ? live_loop : pair_loop, &work,
                     cases[i].iterations, 1);
    }
    struct pair_work shared_size = {malloc, free, 64};
    harness_time("pair_64_2thr", two_threads, &shared_size, 1000000, 2);
    struct pair_work none = {none_allocate, none_release, 64};
    if (harness_wants_alone("pair_none"))
        harness_time("pair_none", pair_loop, &none, 1000000, 1);
    harness_finish();
    return 0;
}
