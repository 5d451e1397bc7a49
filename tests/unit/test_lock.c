/* test_lock.c -- base/lock.h: one holder at a time, and the order of ranks, which debug builds check */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/lock.h"

enum { THREADS = 4, ROUNDS = 20000 };

static struct lock heap = LOCK_INIT(HEAP), meta = LOCK_INIT(META);
static uint64_t counter;        /* META */

static void *count(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&meta);
        counter++;
        lock_release(&meta);
    }
    return unused;
}

static void one_holder_at_a_time(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter, THREADS * ROUNDS);
    assert_false(lock_is_held(&meta));
}

static void a_held_lock_is_not_taken_by_trying(void **state)
{
    (void)state;
    assert_true(lock_try(&meta));
    assert_true(lock_is_held(&meta));
    assert_false(lock_try(&meta));
    lock_release(&meta);
}

/* Runs in a child, which must die of SIGABRT; what it says goes to `said`. */
static void die_of(void (*misuse)(void), char *said, size_t bytes)
{
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();

    if (child == 0) {
        dup2(ends[1], 2);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    ssize_t length = read(ends[0], said, bytes - 1);

    said[length > 0 ? length : 0] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void take_outwards(void)
{
    lock_acquire(&meta);
    lock_acquire(&heap);
}

static void take_twice(void)
{
    lock_acquire(&heap);
    lock_acquire(&heap);
}

static void the_wrong_order_dies(void **state)
{
    char said[200];

    (void)state;
    lock_acquire(&heap);
    lock_acquire(&meta);
    lock_release(&heap);        /* in any order */
    lock_release(&meta);
    die_of(take_outwards, said, sizeof said);
    assert_non_null(strstr(said, "lock HEAP wanted by thread"));
    assert_non_null(strstr(said, "which holds META"));
    die_of(take_twice, said, sizeof said);
    assert_non_null(strstr(said, "which holds HEAP"));
}

static void a_forked_child_begins_without_holders(void **state)
{
    int status;

    (void)state;
    lock_acquire(&meta);
    pid_t child = fork();

    if (child == 0) {
        lock_reset(&meta);
        lock_acquire(&heap);
        lock_acquire(&meta);
        _exit(7);
    }
    lock_release(&meta);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holder_at_a_time),
        cmocka_unit_test(a_held_lock_is_not_taken_by_trying),
        cmocka_unit_test(the_wrong_order_dies),
        cmocka_unit_test(a_forked_child_begins_without_holders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
