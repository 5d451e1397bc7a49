/*
 * larson -- a server: threads that replace random blocks, hand their blocks over and end.
 *
 * After Larson and Krishnan, "Memory allocation for long-running server applications" (1998).
 * Each of T lines of work has a table of 1,000 blocks of 10 to 499 bytes. A thread replaces
 * random entries 20,000 times, then starts its successor, which inherits the table, and ends:
 * blocks are freed by a thread that did not allocate them, and the one that did is gone.
 * ns of wall time per replacement, all lines together.
 */
#include "harness.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

enum { MOST_LINES = 8, SLOTS = 1000, STEPS_PER_THREAD = 20000, SMALLEST = 10, SIZES = 490 };

/* Owned by the line's current thread; handed over through pthread_create. */
struct server_line {
    HARNESS_APART void *slots[SLOTS];
    uint64_t random;
    uint64_t threads_left;
    sem_t *ended;
};

static struct server_line lines[MOST_LINES];

static size_t size_next(struct server_line *line)
{
    return SMALLEST + harness_random_below(&line->random, SIZES);
}

static void successor_start(struct server_line *line);

static void *server_main(void *argument)
{
    struct server_line *line = argument;
    for (unsigned i = 0; i < STEPS_PER_THREAD; i++) {
        unsigned at = harness_random_below(&line->random, SLOTS);
        free(line->slots[at]);
        line->slots[at] = harness_use(malloc(size_next(line)));
    }
    if (--line->threads_left != 0)
        successor_start(line);
    else
        sem_post(line->ended);
    return NULL;
}

static void successor_start(struct server_line *line)
{
    pthread_attr_t detached;
    pthread_t thread;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, server_main, line) != 0)
        harness_die("pthread_create failed");
    pthread_attr_destroy(&detached);
}

static void larson_run(void *argument, uint64_t threads_per_line)
{
    unsigned line_count = *(unsigned *)argument;
    sem_t ended;
    sem_init(&ended, 0, 0);
    for (unsigned i = 0; i < line_count; i++) {
        lines[i].threads_left = threads_per_line;
        lines[i].ended = &ended;
        successor_start(&lines[i]);
    }
    for (unsigned i = 0; i < line_count; i++)
        while (sem_wait(&ended) != 0)
            ;
    sem_destroy(&ended);
}

static void larson_case(const char *name, unsigned line_count, uint64_t threads_per_line)
{
    if (!harness_wants(name))
        return;
    for (unsigned i = 0; i < line_count; i++) {
        lines[i].random = 88172645463325252 + i;
        for (unsigned j = 0; j < SLOTS; j++)
            lines[i].slots[j] = harness_use(malloc(size_next(&lines[i])));
    }
    harness_time_wall(name, larson_run, &line_count, threads_per_line,
                      (uint64_t)line_count * STEPS_PER_THREAD);
    for (unsigned i = 0; i < line_count; i++)
        for (unsigned j = 0; j < SLOTS; j++) {
            free(lines[i].slots[j]);
            lines[i].slots[j] = NULL;
        }
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    larson_case("larson_1", 1, 40);
    larson_case("larson_2", 2, 40);
    larson_case("larson_8", 8, 10);
    harness_finish();
    return 0;
}
