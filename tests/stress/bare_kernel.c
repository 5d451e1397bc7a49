/* bare_kernel.c -- a kernel that was built without some of the files in /proc
 *
 * PURPOSE  Timers are listed, and pages are mapped, by kernels with CONFIG_CHECKPOINT_RESTORE and
 *          CONFIG_PROC_PAGE_MONITOR alone.  Without them cycles run all the same, reclaim what was lost, and
 *          leave a block alone whose address only a timer has.
 *
 * The program gives itself a /proc of links to a real one, less those files, and starts itself again.
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 200, PATTERN = 0x5a, LOST = 10000, CYCLES = 4 };

/* ------------------------------------------------------------------- the kernel */

static const char *const names[] = { "cgroup", "exe", "fd", "fdinfo", "maps", "mem", "mountinfo", "pagemap",
                                     "smaps", "status", "task", "timers" };

static char real[] = "/tmp/proc-XXXXXX";

static int make_link(const char *directory, const char *name)
{
    char from[256], to[256];

    snprintf(from, sizeof from, "/proc/%s%s", directory, name);
    snprintf(to, sizeof to, "%s/%s%s", real, directory, name);
    return symlink(to, from);
}

/* 0: /proc is as that kernel's. */
static int hide(int count, char *const *hidden)
{
    if (unshare(geteuid() == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("/proc", real, NULL, MS_BIND | MS_REC, NULL) != 0 ||
        mount("none", "/proc", "tmpfs", 0, NULL) != 0 || mkdir("/proc/self", 0755) != 0 ||
        mkdir("/proc/thread-self", 0755) != 0)
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int left = 1;

        for (int k = 0; k < count; k++)
            left = left && strcmp(names[i], hidden[k]) != 0;
        if (left && (make_link("self/", names[i]) != 0 || make_link("thread-self/", names[i]) != 0))
            return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------- the program */

static __attribute__((noinline)) void clobber_stack(void)
{
    volatile char junk[65536];

    memset((char *)junk, 0, sizeof junk);
    __asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
}

static __attribute__((noinline)) int give_to_timer(timer_t *timer)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 };
    void *block = malloc(BYTES);

    memset(block, PATTERN, BYTES);
    event.sigev_value.sival_ptr = block;
    int result = timer_create(CLOCK_MONOTONIC, &event, timer);

    memset(&event, 0, sizeof event);
    __asm__ volatile("" : : "r"(&event) : "memory");
    return result == 0;
}

static __attribute__((noinline)) void lose(void)
{
    for (int i = 0; i < LOST; i++)
        memset(malloc(BYTES), 1, BYTES);
}

static int timer_has_block(timer_t timer)
{
    struct itimerspec soon = { .it_value.tv_nsec = 1 };
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (timer_settime(timer, 0, &soon, NULL) != 0 || sigwaitinfo(&set, &info) < 0)
        return 0;
    const unsigned char *block = info.si_value.sival_ptr;

    for (int i = 0; i < BYTES; i++)
        if (block[i] != PATTERN)
            return 0;
    return 1;
}

static int run(void)
{
    static struct gc_memstats stats;
    timer_t timer;
    int complete = 1;

    if (!give_to_timer(&timer))
        return 2;
    lose();
    clobber_stack();
    for (int i = 0; i < CYCLES; i++) {
        complete = gc_collect() && complete;
        lose();
    }
    gc_read_memstats(&stats);
    return !complete + 4 * (stats.malloc_reclaimed < LOST * BYTES) + 8 * !timer_has_block(timer);
}

static int run_without(int count, char *const *hidden)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (hide(count, hidden) != 0)
            _exit(77);
        execl("/proc/self/exe", "bare_kernel", "run", (char *)NULL);
        _exit(3);
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        puts("SKIP no mount namespace can be had");
        return 0;
    }
    printf("%s without %s%s: status %x\n", status == 0 ? "ok" : "FAIL", hidden[0], count > 1 ? " and others" : "",
           (unsigned)status);
    return status != 0;
}

int main(int argc, char **argv)
{
    static char *const hidden[] = { "timers", "pagemap", "smaps" };

    (void)argv;
    if (argc > 1)
        return run();
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(60);
    if (mkdtemp(real) == NULL)
        return 2;
    int bad = run_without(1, hidden) | run_without(3, hidden);

    rmdir(real);
    return bad;
}
