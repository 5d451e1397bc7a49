/* wrap_syscall.c -- syscall(), by which programs call the kernel past libc's functions
 *
 * Most numbers must reach the kernel as if we were not there: from a leaf without a
 * frame, for a clone may come back on another stack.  So the entry is assembly and
 * does what libc's does.  The numbers that may wait, and those that we have to know of, go through a
 * C function that parks first (see wrap.h); libc's syscall() is no cancellation point either.
 * Timeouts of a repeated call are given in full again: only a call that has just begun is ever
 * cut short by us.
 */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "api/wrap.h"

enum { NUMBERS = 512 };

/* Constant; read by the assembly below. */
extern const uint8_t gcalloc_syscall_waits[NUMBERS];
FOR_ASSEMBLY const uint8_t gcalloc_syscall_waits[NUMBERS] = {
    [SYS_read] = 1, [SYS_readv] = 1, [SYS_write] = 1, [SYS_writev] = 1, [SYS_sendfile] = 1,
    [SYS_splice] = 1, [SYS_getrandom] = 1, [SYS_flock] = 1,
    [SYS_poll] = 1, [SYS_ppoll] = 1, [SYS_select] = 1, [SYS_pselect6] = 1,
    [SYS_epoll_wait] = 1, [SYS_epoll_pwait] = 1, [SYS_epoll_pwait2] = 1,
    [SYS_nanosleep] = 1, [SYS_clock_nanosleep] = 1, [SYS_pause] = 1,
    [SYS_rt_sigsuspend] = 1, [SYS_rt_sigtimedwait] = 1, [SYS_wait4] = 1, [SYS_waitid] = 1,
    [SYS_accept] = 1, [SYS_accept4] = 1, [SYS_connect] = 1, [SYS_recvfrom] = 1,
    [SYS_recvmsg] = 1, [SYS_recvmmsg] = 1, [SYS_sendto] = 1, [SYS_sendmsg] = 1,
    [SYS_sendmmsg] = 1, [SYS_msgsnd] = 1, [SYS_msgrcv] = 1, [SYS_semop] = 1,
    [SYS_semtimedop] = 1, [SYS_mq_timedsend] = 1, [SYS_mq_timedreceive] = 1,
    [SYS_io_getevents] = 1, [SYS_io_pgetevents] = 1, [SYS_io_uring_enter] = 1,
    [SYS_futex] = 1, [SYS_futex_waitv] = 1,
    /* These do not wait, but we have to know of them: see wrap_special in wrap_kernel.c. */
    [SYS_seccomp] = 1, [SYS_prctl] = 1, [SYS_epoll_ctl] = 1, [SYS_timer_create] = 1,
    [SYS_mprotect] = 1, [SYS_pkey_mprotect] = 1, [SYS_mmap] = 1, [SYS_munmap] = 1,
    [SYS_mremap] = 1, [SYS_madvise] = 1, [SYS_userfaultfd] = 1,
    [SYS_unshare] = 1, [SYS_setns] = 1, [SYS_capset] = 1, [SYS_landlock_restrict_self] = 1,
    [SYS_fork] = 1,
    [SYS_clone] = 2,    /* if it shares no memory and brings no stack */
    [SYS_clone3] = 3,    /* the same, told in memory */
};

/* Waking is what most futex calls do: not worth a park. */
static bool futex_waits(long operation)
{
    switch (operation & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_WAIT_REQUEUE_PI:
        return true;
    default:
        return false;
    }
}

/* What wrap_result does of -errno, for the assembly. */
long gcalloc_syscall_failed(long result);
FOR_ASSEMBLY long gcalloc_syscall_failed(long result)
{
    return wrap_result(result);
}

_Static_assert(NUMBERS == 512 && CLONE_VM == 0x100 && offsetof(struct clone_args, stack) == 40 &&
                   CLONE_ARGS_SIZE_VER0 == 64,
               "as in the assembly below");

long gcalloc_syscall_parked(long nr, long a, long b, long c, long d, long e, long f);
FOR_ASSEMBLY long gcalloc_syscall_parked(long nr, long a, long b, long c, long d, long e, long f)
{
    struct blocked blocked;
    long result;

    if (nr == SYS_splice)
        wrap_before_splice();
    if (nr == SYS_clone || nr == SYS_fork || nr == SYS_clone3) {
        result = wrap_fork_by_number(nr, a, b, c, d, e, f);
    } else if (wrap_is_special(nr, a)) {
        result = wrap_special(nr, a, b, c, d, e, f);
    } else if ((nr == SYS_futex && !futex_waits(b)) || nr == SYS_seccomp || nr == SYS_prctl) {
        result = sys_call6(nr, a, b, c, d, e, f);
    } else {
        do {
            blocked_enter(&blocked);
            PARKED_FRAME();
            result = sys_call6(nr, a, b, c, d, e, f);
            blocked_leave(&blocked);
        } while (result == -EINTR && blocked_cut_short(&blocked));
    }
    return wrap_result(result);
}

__asm__(".pushsection .text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        ".balign 16\n"
        "syscall:\n"
        "    .cfi_startproc\n"
        "    cmpq $512, %rdi\n"
        "    jae 1f\n"
        "    leaq gcalloc_syscall_waits(%rip), %rax\n"
        "    cmpb $1, (%rax,%rdi)\n"
        "    je gcalloc_syscall_parked\n"
        "    ja 3f\n"
        "1:  movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    movq %rdx, %rsi\n"
        "    movq %rcx, %rdx\n"
        "    movq %r8, %r10\n"
        "    movq %r9, %r8\n"
        "    movq 8(%rsp), %r9\n"
        "    syscall\n"
        "    cmpq $-4095, %rax\n"
        "    jae 2f\n"
        "    ret\n"
        "2:  movq %rax, %rdi\n"
        "    jmp gcalloc_syscall_failed\n"
        "3:  cmpb $3, (%rax,%rdi)\n"
        "    je 4f\n"
        "    testl $0x100, %esi\n"
        "    jne 1b\n"
        "    testq %rdx, %rdx\n"
        "    jne 1b\n"
        "    jmp gcalloc_syscall_parked\n"
        "4:  testq %rsi, %rsi\n"        /* clone3(NULL, 0) asks whether there is such a call */
        "    je 1b\n"
        "    cmpq $64, %rdx\n"
        "    jb 1b\n"
        "    testl $0x100, (%rsi)\n"
        "    jne 1b\n"
        "    cmpq $0, 40(%rsi)\n"
        "    jne 1b\n"
        "    jmp gcalloc_syscall_parked\n"
        "    .cfi_endproc\n"
        ".size syscall, . - syscall\n"
        ".popsection\n");
