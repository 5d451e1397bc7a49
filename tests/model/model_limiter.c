/* model_limiter.c -- the limiter's bucket (model_marking.c has it at work) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gc/limiter.h"

static void test_bucket_fills_and_drains(void **state)
{
    const uint64_t second = 1000000000;
    struct limiter limiter;

    (void)state;
    limiter_init(&limiter, 4, (struct limiter_times){ 0 });
    limiter_update(&limiter, 4 * second - 1, 0);
    assert_false(limiter_limiting(&limiter));
    limiter_update(&limiter, 1, 0);
    assert_true(limiter_limiting(&limiter));
    limiter_update(&limiter, 0, 1);
    assert_false(limiter_limiting(&limiter));
    /* No credit is saved up. */
    limiter_update(&limiter, 0, 100 * second);
    limiter_update(&limiter, 4 * second, 0);
    assert_true(limiter_limiting(&limiter));
    /* Half of the time each: it stays as it is. */
    limiter_update(&limiter, 50 * second, 50 * second + 1);
    assert_false(limiter_limiting(&limiter));
}

static void test_debt_is_drained_and_bounded(void **state)
{
    const uint64_t second = 1000000000;
    struct limiter limiter;

    (void)state;
    limiter_init(&limiter, 2, (struct limiter_times){ 0 });
    limiter_update(&limiter, 30 * second, 0);           /* one long cycle */
    limiter_update(&limiter, 0, 27 * second);
    assert_true(limiter_limiting(&limiter));
    limiter_update(&limiter, 0, second + 1);
    assert_false(limiter_limiting(&limiter));
    limiter_init(&limiter, 2, (struct limiter_times){ 0 });
    for (int i = 0; i < 1000; i++)                      /* many short ones */
        limiter_update(&limiter, second, 0);
    limiter_update(&limiter, 0, 2 * second);
    assert_true(limiter_limiting(&limiter));
    limiter_update(&limiter, 0, 1);
    assert_false(limiter_limiting(&limiter));
    limiter_update(&limiter, UINT64_MAX, 0);
    limiter_update(&limiter, UINT64_MAX, 1);
    assert_true(limiter_limiting(&limiter));
}

static void advance(struct limiter *limiter, uint64_t clock_ns, uint64_t busy_ns, uint64_t gc_ns,
                    bool idle_counts)
{
    struct limiter_times now = { clock_ns, busy_ns, gc_ns };

    limiter_advance(limiter, now, idle_counts);
}

static void test_limiter_by_the_clock(void **state)
{
    const uint64_t second = 1000000000;
    struct limiter limiter;

    (void)state;
    limiter_init(&limiter, 2, (struct limiter_times){ 50 * second, 9 * second, 7 * second });
    advance(&limiter, 52 * second, 12 * second, 10 * second, true);     /* 3 of 4 */
    assert_int_equal(limiter.fill, 2 * second);
    assert_true(limiter_limiting(&limiter));
    /* Came late: no matter. */
    advance(&limiter, 51 * second, 12 * second, 10 * second, true);
    advance(&limiter, 53 * second, 12 * second, 9 * second, true);
    advance(&limiter, 53 * second, 11 * second, 10 * second, true);
    assert_int_equal(limiter.fill, 2 * second);
    advance(&limiter, 52 * second + 1, 12 * second, 10 * second, true);
    assert_false(limiter_limiting(&limiter));
    advance(&limiter, 100 * second, 12 * second, 10 * second, true);
    assert_int_equal(limiter.fill, 0);
}

static void test_limiter_by_what_the_process_uses(void **state)
{
    const uint64_t second = 1000000000;
    struct limiter limiter;

    (void)state;
    limiter_init(&limiter, 2, (struct limiter_times){ 0 });
    advance(&limiter, 100 * second, 5 * second, 3 * second, false);     /* 3 of 5 */
    assert_int_equal(limiter.fill, second);
    advance(&limiter, 200 * second, 7 * second, 5 * second, false);     /* all of it */
    assert_int_equal(limiter.fill, 3 * second);
    assert_true(limiter_limiting(&limiter));
    advance(&limiter, 300 * second, 7 * second, 5 * second, false);     /* the process sleeps */
    assert_true(limiter_limiting(&limiter));
    advance(&limiter, 300 * second, 8 * second + 1, 5 * second, false);
    assert_false(limiter_limiting(&limiter));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_fills_and_drains),
        cmocka_unit_test(test_debt_is_drained_and_bounded),
        cmocka_unit_test(test_limiter_by_the_clock),
        cmocka_unit_test(test_limiter_by_what_the_process_uses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
