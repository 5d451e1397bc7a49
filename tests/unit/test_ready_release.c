/* test_ready_release.c -- pages between live slots go back to the OS while others free slots
 *
 * PURPOSE  A slot that is freed at any instruction of ready_release takes nothing of its neighbours along.  For
 *          k = 1, 2, ... it runs with the trap flag set, and the SIGTRAP handler frees the slot, as another
 *          thread would, at the k-th instruction.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

#include "heap/pages.h"
#include "heap/ready.h"

enum { GENERATION = 2, SLOT = 8192, PATTERN = 0x6b, INSTRUCTIONS_LEAST = 100, INSTRUCTIONS_MOST = 20000 };

static struct span *span;
static uint32_t victim;         /* the slot that is freed meanwhile */
static volatile int stepping, steps, stop_at;

static void on_trap(int signal, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;

    (void)signal;
    (void)info;
    if (stepping && ++steps < stop_at)
        return;
    context->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
    if (stepping)
        span_release_slot(span, victim);
}

static size_t release_stepped(unsigned class)
{
    steps = 0;
    stepping = 1;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
    size_t bytes = ready_release(&central[class]);
    __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
    stepping = 0;
    return bytes;
}

/* All slots are in use and hold something; then the last one is freed, and the span lies on `central`. */
static void fill_span(unsigned class)
{
    span = pages_alloc_small(class, size_classes[class].pages, GENERATION);
    assert_non_null(span);
    assert_true(span->slots >= 4 && span->slots <= 64);
    span->bits[0].alloc = ~0ull >> (64 - span->slots);
    memset(span->slot_state, SLOT_OUT, span->slots);
    memset((void *)span->base, PATTERN, span->slots * span->slot_bytes);
    span_add_live(span, span->slots);
    span_release_slot(span, span->slots - 1);
    span_disown(span);
}

static void assert_intact(uint32_t slot)
{
    const unsigned char *bytes = (const unsigned char *)span_slot_address(span, slot);

    for (size_t i = 0; i < span->slot_bytes; i++)
        if (bytes[i] != PATTERN)
            fail_msg("slot %u lost byte %zu when slot %u was freed at instruction %d", slot, i, victim,
                     stop_at);
}

/* Frees what is left, so that the pages go back. */
static void empty_span(unsigned class)
{
    for (uint32_t slot = 0; slot + 1 < span->slots; slot++)
        if (slot != victim || steps < stop_at)
            span_release_slot(span, slot);
    ready_trim(&central[class], 0);
}

static int free_at_each_instruction(unsigned class)
{
    for (stop_at = 1; stop_at <= INSTRUCTIONS_MOST; stop_at++) {
        fill_span(class);
        assert_true(release_stepped(class) >= SLOT);
        for (uint32_t slot = 0; slot + 1 < span->slots; slot++)
            if (slot != victim)
                assert_intact(slot);
        empty_span(class);
        if (steps < stop_at)
            break;
    }
    return stop_at - 1;
}

static void a_slot_freed_meanwhile_takes_no_other_along(void **state)
{
    unsigned class = sizeclass_of(SLOT);
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

    (void)state;
    assert_non_null(meta_alloc(64));    /* makes the reservation */
    assert_int_equal(size_classes[class].slot_bytes, SLOT);
    sigaction(SIGTRAP, &action, NULL);
    for (victim = 0; victim < 2; victim++) {
        int instructions = free_at_each_instruction(class);

        assert_in_range(instructions, INSTRUCTIONS_LEAST, INSTRUCTIONS_MOST - 1);
    }
    assert_true(pages_check());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_freed_meanwhile_takes_no_other_along),
    };

    return cmocka_run_group_tests_name("ready_release", tests, NULL, NULL);
}
