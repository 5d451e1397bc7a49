/* wrap_context.c -- makecontext: coroutines on a thread's own stack
 *
 * What lies below the stack pointer of a thread that is on its own stack is dead, unless it runs on a local
 * array of one of its functions (world/roots_stacks.c).  So that is noted here.  swapcontext switches
 * without our knowledge; a switch by the program's own instructions between such arrays is not known at all.
 */
#include <ucontext.h>

#include "api/wrap.h"
#include "base/bits.h"

/* Of a thread whose stack may grow. */
static const size_t STACK_MOST = 64 * MIB;

static void note_stack(uintptr_t stack)
{
    struct thread *thread = thread_attach();

    if (thread == NULL || wrap_is_stranger(thread))
        return;
    uintptr_t high = thread->stack_high, low = thread->stack_low;

    if (low == 0)
        low = high - min_size(high, STACK_MOST);
    if (stack >= low && stack < high && (thread->context_stack == 0 || stack < thread->context_stack))
        thread->context_stack = stack;
}

/* Where to go on: libc's makecontext finds its further arguments on the stack, so ours jumps to it. */
void *gcalloc_makecontext_real(const ucontext_t *context);
FOR_ASSEMBLY void *gcalloc_makecontext_real(const ucontext_t *context)
{
    static void *cache;

    note_stack((uintptr_t)context->uc_stack.ss_sp);
    return (void *)WRAP_REAL(cache, makecontext);
}

__asm__(".pushsection .text\n"
        ".globl makecontext\n"
        ".type makecontext, @function\n"
        ".balign 16\n"
        "makecontext:\n"
        "    .cfi_startproc\n"
        "    subq $56, %rsp\n"
        "    .cfi_adjust_cfa_offset 56\n"
        "    movq %rdi, 0(%rsp)\n"
        "    movq %rsi, 8(%rsp)\n"
        "    movq %rdx, 16(%rsp)\n"
        "    movq %rcx, 24(%rsp)\n"
        "    movq %r8, 32(%rsp)\n"
        "    movq %r9, 40(%rsp)\n"
        "    call gcalloc_makecontext_real\n"
        "    movq 0(%rsp), %rdi\n"
        "    movq 8(%rsp), %rsi\n"
        "    movq 16(%rsp), %rdx\n"
        "    movq 24(%rsp), %rcx\n"
        "    movq 32(%rsp), %r8\n"
        "    movq 40(%rsp), %r9\n"
        "    addq $56, %rsp\n"
        "    .cfi_adjust_cfa_offset -56\n"
        "    movq %rax, %r11\n"
        "    xorl %eax, %eax\n"
        "    jmp *%r11\n"
        "    .cfi_endproc\n"
        ".size makecontext, . - makecontext\n"
        ".popsection\n");
