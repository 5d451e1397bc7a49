/* PURPOSE: system calls that a program with a single thread may rely on after collections have
 * run: unshare of a user namespace (fails if there is a second thread), setuid (must hold for every
 * task of the process), seccomp-like per-task state, mlockall, vfork, prctl names. */
#define _GNU_SOURCE
#include "blocks.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 2000 };

static struct block *held[N];

static void make_all(void)
{
    for (unsigned i = 0; i < N; i++)
        held[i] = block_make(i);
    churn(6000);
}

static void check_all(const char *when)
{
    int good = 0;

    churn(3000);
    for (unsigned i = 0; i < N; i++)
        good += block_check(held[i], i);
    printf("%s: %d of %d blocks\n", when, good, N);
}

/* in_child -- runs f in a fork and prints its exit status */
static void in_child(const char *name, int (*f)(void))
{
    int status = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        int rc = f();

        fflush(stdout);
        _exit(rc);
    }
    waitpid(pid, &status, 0);
    printf("%s: %s %d\n", name, WIFEXITED(status) ? "status" : "signal",
        WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static const char *result(int rc)
{
    return rc == 0 ? "worked" : strerrorname_np(errno);
}

static int do_unshare(void)
{
    churn(3000);
    printf("unshare of a user namespace %s\n", result(unshare(CLONE_NEWUSER)));
    check_all("after unshare");
    return 0;
}

static int do_unshare_first(void)
{
    printf("unshare at once %s\n", result(unshare(CLONE_NEWUSER | CLONE_FS)));
    check_all("after unshare at once");
    return 0;
}

/* tasks_with -- how many tasks of this process have a line with that beginning in their status,
 * and in *total how many tasks there are */
static int tasks_with(const char *text, int *total)
{
    DIR *dir = opendir("/proc/self/task");
    char path[300], line[300];
    int found = 0;

    *total = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        FILE *f;

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        f = fopen(path, "r");
        if (!f)
            continue;
        ++*total;
        while (fgets(line, sizeof line, f))
            found += strncmp(line, text, strlen(text)) == 0;
        fclose(f);
    }
    closedir(dir);
    return found;
}

static int do_setuid(void)
{
    int total, ours;

    churn(3000);
    printf("setgid %s\n", result(setgid(getuid() ? getgid() : 65534)));
    printf("setuid %s\n", result(setuid(getuid() ? getuid() : 65534)));
    check_all("after setuid");
    if (getuid() == 65534) {
        ours = tasks_with("Uid:\t65534\t65534\t65534\t65534", &total);
        printf("%s tasks changed\n", ours == total ? "all" : "NOT all");
        printf("back to root: %s\n", result(setuid(0)));
    }
    return 0;
}

static int do_no_new_privileges(void)
{
    int total, ours;

    churn(3000);
    printf("no_new_privs %s\n", result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)));
    check_all("after no_new_privs");
    ours = tasks_with("NoNewPrivs:\t1", &total);
    printf("%s tasks changed\n", ours == total ? "all" : "NOT all");
    return 0;
}

static int do_dumpable(void)
{
    /* /proc/self becomes root's: files that were not opened before stay closed to us. */
    if (getuid() == 0 && (setgid(65534) || setuid(65534)))
        return 1;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    check_all("not dumpable");
    return 0;
}

static long resident_mib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = -1;

    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        return -1;
    fclose(f);
    return pages >> 8;
}

/* Locks everything: a reservation that counts as accessible memory would all be filled now. Only
 * as root: for others all of the address space, reserved or not, counts against RLIMIT_MEMLOCK. */
static int do_mlockall(void)
{
    FILE *f = fopen("/proc/self/oom_score_adj", "w");
    int rc;

    if (f) {
        fputs("1000", f);
        fclose(f);
    }
    rc = mlockall(MCL_CURRENT | MCL_FUTURE);
    if (getuid() == 0)
        printf("mlockall %s\n", result(rc));
    check_all("after mlockall");
    printf("less than 256 MiB are resident: %s\n", resident_mib() < 256 ? "yes" : "no");
    return 0;
}

/* vfork_once -- 1 if a child made by vfork leaves with that status */
static __attribute__((noinline)) int vfork_once(int code)
{
    int status = 0;
    pid_t pid = vfork();

    if (pid == 0)
        _exit(code);
    churn(64);
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status) == code;
}

static int do_vfork(void)
{
    for (int i = 0; i < 200; i++)
        if (!vfork_once(i % 100))
            return 1;
    check_all("after vfork");
    return 0;
}

static int do_chroot(void)
{
    int rc = chroot("/var/empty") == 0 || chroot("/proc/self/fdinfo") == 0 || errno == EPERM;

    check_all("after chroot");
    return !rc;
}

int main(void)
{
    make_all();
    in_child("unshare", do_unshare);
    in_child("unshare first", do_unshare_first);
    in_child("setuid", do_setuid);
    in_child("no new privileges", do_no_new_privileges);
    in_child("not dumpable", do_dumpable);
    in_child("mlockall", do_mlockall);
    in_child("vfork", do_vfork);
    in_child("chroot", do_chroot);
    check_all("the parent");
    do_unshare();
    return 0;
}
