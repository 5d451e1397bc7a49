/* api_test.h -- what the tests of the public behaviour share
 *
 * PURPOSE  cmocka's prologue; looks at blocks; and ways to lose a pointer for good, so that a
 *          conservative collector finds no copy of it in a dead stack frame or register.
 */
#ifndef GCALLOC_TESTS_API_TEST_H
#define GCALLOC_TESTS_API_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <string.h>

#include "gcalloc.h"

#define NOINLINE __attribute__((noinline))

/* Hides a size from the compiler, which warns of impossible ones. */
static inline size_t opaque(size_t value)
{
    __asm__("" : "+r"(value));
    return value;
}

static inline bool aligned_to(const void *block, size_t alignment)
{
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

static inline bool all_bytes(const unsigned char *block, size_t bytes, unsigned char value)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != value)
            return false;
    return true;
}

/* Every usable byte may be written and keeps its value. */
static inline void assert_usable(void *block, size_t bytes)
{
    assert_non_null(block);
    size_t usable = malloc_usable_size(block);

    assert_true(usable >= bytes);
    memset(block, 0x5a, usable);
    assert_true(all_bytes(block, usable, 0x5a));
}

/* An address that the collector does not recognise: it undoes tags in the high and low
 * bits, but not a complement. */
static inline uintptr_t hide(const void *pointer)
{
    return ~(uintptr_t)pointer;
}

static inline void *unhide(uintptr_t hidden)
{
    return (void *)~hidden;
}

/* Overwrites the stack below the caller, and the registers that calls may clobber. */
static NOINLINE __attribute__((unused)) void clear_stack(void)
{
    volatile char frames[8192];

    for (size_t i = 0; i < sizeof frames; i++)
        frames[i] = 0;
    __asm__ volatile("xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\t"
                     "xor %%esi, %%esi\n\txor %%edi, %%edi\n\txor %%r8d, %%r8d\n\t"
                     "xor %%r9d, %%r9d\n\txor %%r10d, %%r10d\n\txor %%r11d, %%r11d\n\t"
                     "pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\tpxor %%xmm2, %%xmm2\n\t"
                     "pxor %%xmm3, %%xmm3\n\tpxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\t"
                     "pxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\tpxor %%xmm8, %%xmm8\n\t"
                     "pxor %%xmm9, %%xmm9\n\tpxor %%xmm10, %%xmm10\n\tpxor %%xmm11, %%xmm11\n\t"
                     "pxor %%xmm12, %%xmm12\n\tpxor %%xmm13, %%xmm13\n\tpxor %%xmm14, %%xmm14\n\t"
                     "pxor %%xmm15, %%xmm15"
                     ::: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1",
                     "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15", "memory");
}

/* Two cycles, as malloc blocks need.  A cycle may be abandoned for a reason that passes. */
static NOINLINE __attribute__((unused)) bool collect_twice(void)
{
    int done = 0;

    clear_stack();
    for (int try = 0; try < 20 && done < 2; try++)
        done += gc_collect();
    return done == 2;
}

#endif
