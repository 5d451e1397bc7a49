/* test_mark_swap.c -- the machine begins to swap while a cycle marks
 *
 * PURPOSE  What is not in memory of a large object was never touched, so it is not read; unless it was swapped
 *          out.  A filter of system calls makes mincore say that nothing is in memory, and sysinfo that
 *          there is no swap, at first, and some in use, later.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <ucontext.h>

#include "fake_world.h"
#include "os/vm.h"

static int looks;               /* at the swap */
static int looks_without;       /* so many find none */

/* In place of the system call. */
static void on_call(int number, siginfo_t *info, void *raw)
{
    greg_t *registers = ((ucontext_t *)raw)->uc_mcontext.gregs;

    (void)number;
    if (info->si_syscall == SYS_mincore) {
        memset((void *)registers[REG_RDX], 0, ((size_t)registers[REG_RSI] + 4095) / 4096);
    } else {
        struct sysinfo *swap = (struct sysinfo *)registers[REG_RDI];

        memset(swap, 0, sizeof *swap);
        swap->totalswap = 1000;
        swap->freeswap = looks++ < looks_without ? 1000 : 999;
    }
    registers[REG_RAX] = 0;
}

static bool filter_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mincore, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sysinfo, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof code / sizeof code[0], code };
    struct sigaction action = { .sa_sigaction = on_call, .sa_flags = SA_SIGINFO };

    return sigaction(SIGSYS, &action, NULL) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { LARGE = 1 << 20 };

/* Is what a large object holds found, if so many looks find no swap? */
static bool is_found(int without)
{
    uintptr_t *large = fake_alloc(KIND_MALLOC, LARGE);
    void *small = fake_alloc(KIND_MALLOC, 100);

    large[LARGE / 16] = (uintptr_t)small;
    fake_clear_roots();
    fake_roots[0] = (uintptr_t)large;
    looks = 0;
    looks_without = without;
    fake_mark();
    assert_true(is_marked(large));
    bool found = is_marked(small);

    sweep_all();
    return found;
}

static void swapping_begins(void **state)
{
    (void)state;
    vm_confine(false);                  /* the filter to come is ours */
    if (!filter_calls())                /* here, for cmocka has a handler of its own */
        fail_msg("no filter of system calls: %s", strerror(errno));
    assert_true(is_found(0));           /* there is some from the beginning */
    assert_false(is_found(1000));       /* there is none: then it was never touched */
    assert_true(is_found(1));           /* it begins once the cycle has */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swapping_begins),
    };

    fake_init();
    return cmocka_run_group_tests_name("mark_swap", tests, NULL, NULL);
}
