/* sandbox.c -- a program that forbids itself the system calls that a collection makes
 *
 * PURPOSE  Installed by prctl or by syscall(SYS_seccomp), or there before the program was started, the
 *          filter kills the process at the first forbidden call.  The library must not make one: it goes on as
 *          a plain malloc.  Each filter is tried in a child of its own, far beyond the size at
 *          which collections start; one child without a filter shows that they do start, and
 *          one under a filter that only refuses.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <gcalloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 3000000 };

static const int forbidden[] = { SYS_clone, SYS_rt_tgsigqueueinfo, SYS_openat,
                                 SYS_process_vm_readv, SYS_mincore, SYS_mremap };
/* As a service manager does it: a program cannot be started without the others. */
static const int forbidden_before[] = { SYS_userfaultfd, SYS_sched_setscheduler, SYS_rt_tgsigqueueinfo, SYS_uname,
                                        SYS_statx, SYS_process_vm_readv, SYS_mincore, SYS_mremap, SYS_exit,
                                        SYS_pwritev2 };

static void forbid(int number, int by_prctl, unsigned verdict)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, verdict),
    };
    struct sock_fprog program = { .len = 4, .filter = filter };

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    long result = by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                           : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);

    if (result != 0)
        _exit(2);
}

/* Cleared, grown, freed and cleared again: pages that elsewhere would be moved, or asked about. */
static int large_blocks_are_right(void)
{
    size_t bytes = 4 << 20;
    unsigned char *block = calloc(1, bytes);
    int right = 1;

    for (; bytes < 64 << 20; bytes *= 2) {
        memset(block, 0x5a, bytes);
        block = realloc(block, 2 * bytes);
        for (size_t i = 0; i < bytes; i += 1000)
            right = right && block[i] == 0x5a;
        unsigned char *other = calloc(1, bytes);
        for (size_t i = 0; i < bytes; i += 1000)
            right = right && other[i] == 0;
        memset(other, 1, bytes);
        free(other);
    }
    free(block);
    return right;
}

/* Traces of cycles go to a pipe: to anything else they are not written by pwritev2. */
static void trace_to_pipe(void)
{
    int ends[2];

    if (pipe(ends) != 0 || dup2(ends[1], 2) != 2)
        _exit(4);
    setenv("GCALLOC_DEBUG", "gctrace=1", 1);
}

/* A list of 192 MiB; the collector's task ends with it.  0 when no collection ran, 1 otherwise; 2 more when something was wrong. */
static int allocate(void)
{
    static void **head;
    static struct gc_memstats stats;

    for (int i = 0; i < BLOCKS; i++) {
        void **block = malloc(64);
        *block = head;
        head = block;
    }
    gc_read_memstats(&stats);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (stats.num_gc != 0) + 2 * !large_blocks_are_right();
}

static int run(int number, int by_prctl)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (number >= 0)
            forbid(number, by_prctl, SECCOMP_RET_KILL_PROCESS);
        _exit(allocate());
    }
    waitpid(child, &status, 0);
    return status;
}

/* The filter is there first, and then the program is started. */
static int run_under(int number, unsigned verdict)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        trace_to_pipe();
        forbid(number, 1, verdict);
        execl("/proc/self/exe", "sandbox", "allocate", (char *)NULL);
        _exit(3);
    }
    waitpid(child, &status, 0);
    return status;
}

int main(int argc, char **argv)
{
    int failures = 0;

    if (argc > 1 && strcmp(argv[1], "allocate") == 0)
        return allocate();

    for (size_t i = 0; i < sizeof forbidden / sizeof forbidden[0]; i++) {
        int status = run(forbidden[i], i % 2 == 0);
        printf("%s system call %d forbidden: status %x\n", status == 0 ? "ok" : "FAIL",
               forbidden[i], (unsigned)status);
        failures += status != 0;
    }
    for (size_t i = 0; i < sizeof forbidden_before / sizeof forbidden_before[0]; i++) {
        int status = run_under(forbidden_before[i], SECCOMP_RET_KILL_PROCESS);
        printf("%s system call %d forbidden before the start: status %x\n",
               status == 0 ? "ok" : "FAIL", forbidden_before[i], (unsigned)status);
        failures += status != 0;
    }
    int refused = run_under(SYS_userfaultfd, SECCOMP_RET_ERRNO | EPERM);

    printf("%s userfaultfd refused: status %x\n", WEXITSTATUS(refused) == 1 ? "ok" : "FAIL",
           (unsigned)refused);
    failures += WEXITSTATUS(refused) != 1;
    int status = run(-1, 0);

    printf("%s nothing forbidden: status %x\n", WEXITSTATUS(status) == 1 ? "ok" : "FAIL",
           (unsigned)status);
    return failures != 0 || WEXITSTATUS(status) != 1;
}
