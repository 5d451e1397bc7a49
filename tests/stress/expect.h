/* expect.h -- for programs that must behave with the library as without it
 *
 * PURPOSE  A test is a function that returns at its first EXPECT that does not hold, and prints
 *          `ok name` at its end; main returns whether there were failures.
 */
#ifndef GCALLOC_TESTS_EXPECT_H
#define GCALLOC_TESTS_EXPECT_H

#include <stdbool.h>
#include <stdio.h>

/* NULL without the library. */
__attribute__((weak)) bool gc_collect(void) __asm__("gc_alloc_collect");

static int failures;

#define EXPECT(condition)                                               \
    do {                                                                \
        if (!(condition)) {                                             \
            printf("FAIL %s: line %d: %s\n", __func__, __LINE__, #condition); \
            failures++;                                                 \
            return;                                                     \
        }                                                               \
    } while (0)

#endif
