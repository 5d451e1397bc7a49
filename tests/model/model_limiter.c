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
    limiter_init(&limiter, 4, 0, 0);
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
    limiter_init(&limiter, 2, 0, 0);
    limiter_update(&limiter, 30 * second, 0);           /* one long cycle */
    limiter_update(&limiter, 0, 27 * second);
    assert_true(limiter_limiting(&limiter));
    limiter_update(&limiter, 0, second + 1);
    assert_false(limiter_limiting(&limiter));
    limiter_init(&limiter, 2, 0, 0);
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

static void test_limiter_by_the_clock(void **state)
{
    const uint64_t second = 1000000000;
    struct limiter limiter;

    (void)state;
    limiter_init(&limiter, 2, 50 * second, 7 * second);
    limiter_advance(&limiter, 52 * second, 10 * second);        /* 3 of 4 */
    assert_int_equal(limiter.fill, 2 * second);
    assert_true(limiter_limiting(&limiter));
    limiter_advance(&limiter, 51 * second, 10 * second);        /* came late: no matter */
    limiter_advance(&limiter, 53 * second, 9 * second);
    assert_int_equal(limiter.fill, 2 * second);
    limiter_advance(&limiter, 52 * second + 1, 10 * second);
    assert_false(limiter_limiting(&limiter));
    limiter_advance(&limiter, 100 * second, 10 * second);
    assert_int_equal(limiter.fill, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bucket_fills_and_drains),
        cmocka_unit_test(test_debt_is_drained_and_bounded),
        cmocka_unit_test(test_limiter_by_the_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
