/* PURPOSE: coroutines on stacks from mmap, each holding heap blocks in its local variables only;
 * the thread that switches between them allocates meanwhile. Also a signal handler on an alternate
 * stack that allocates. */
#include "blocks.h"
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { COROUTINES = 60, HELD = 40, ROUNDS = 12, STACK = 256 << 10 };

static ucontext_t scheduler;
static ucontext_t contexts[COROUTINES];
static int good[COROUTINES];

static void body(int self)
{
    struct block *held[HELD];

    for (int i = 0; i < HELD; i++)
        held[i] = block_make((unsigned)(self * HELD + i));
    for (int round = 0; round < ROUNDS; round++) {
        swapcontext(&contexts[self], &scheduler);
        good[self] += block_check(held[round], (unsigned)(self * HELD + round));
        free(held[round]);
        held[round] = block_make((unsigned)(self * HELD + round));
    }
    for (int i = 0; i < HELD; i++) {
        good[self] += block_check(held[i], (unsigned)(self * HELD + i));
        free(held[i]);
    }
}

static void start(int self)
{
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK,
        -1, 0);

    if (stack == MAP_FAILED)
        abort();
    mprotect(stack, 4096, PROT_NONE);
    getcontext(&contexts[self]);
    contexts[self].uc_stack.ss_sp = stack;
    contexts[self].uc_stack.ss_size = STACK;
    contexts[self].uc_link = &scheduler;
    makecontext(&contexts[self], (void (*)(void))body, 1, self);
}

static int signals_good;

static void on_signal(int number)
{
    struct block *held[HELD];

    (void)number;
    for (int i = 0; i < HELD; i++)
        held[i] = block_make((unsigned)i);
    churn(600);
    for (int i = 0; i < HELD; i++) {
        signals_good += block_check(held[i], (unsigned)i);
        free(held[i]);
    }
}

static void use_alternate_stack(void)
{
    /* The handler runs between two calls of malloc, so that it may allocate. */
    stack_t alternate = {.ss_sp = malloc(64 << 10), .ss_size = 64 << 10};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

    sigaltstack(&alternate, NULL);
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 10; i++)
        raise(SIGUSR1);
    printf("alternate stack: %d of %d blocks\n", signals_good, 10 * HELD);
}

int main(void)
{
    int total = 0;

    for (int i = 0; i < COROUTINES; i++)
        start(i);
    for (int round = 0; round <= ROUNDS; round++)
        for (int i = 0; i < COROUTINES; i++) {
            swapcontext(&scheduler, &contexts[i]);
            churn(64);
        }
    for (int i = 0; i < COROUTINES; i++)
        total += good[i];
    printf("coroutines: %d of %d blocks\n", total, COROUTINES * (HELD + ROUNDS));
    use_alternate_stack();
    return 0;
}
