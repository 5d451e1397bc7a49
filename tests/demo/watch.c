/* watch: runs a command and writes down its resident memory over time.
 *
 * PURPOSE: the measuring instrument of the demo and of the leak table. Usage:
 *     watch SAMPLES LIMIT_SECONDS COMMAND [ARGUMENT...]
 * SAMPLES receives one line `<ms since start> <resident KiB>` about every 20 ms and a last line
 *     end <wall ms> <peak resident KiB> <status>
 * where status is the command's exit status, 128 + N when signal N ended it, 124 when the limit
 * did. The peak is the kernel's own high-water mark (wait4), not the highest sample.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Shorter shows faster spikes, and disturbs the two-core machines that we measure on. */
enum { SAMPLE_PERIOD_NS = 20 * 1000 * 1000 };

struct watch {
    FILE *samples;
    pid_t child;
    double started_ms;
    double limit_ms;
    bool timed_out;
};

static double watch_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void watch_die(const char *what)
{
    fprintf(stderr, "watch: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* Resident KiB of the child now; 0 when it has already given its memory back. */
static long watch_resident_kib(const struct watch *w)
{
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)w->child);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    const ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    long pages = 0;
    if (sscanf(text, "%*s %ld", &pages) != 1)
        return 0;
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* SIGCHLD is blocked in the parent, so that the wait below ends the moment the child does. */
static void watch_start(struct watch *w, char **command)
{
    sigset_t chld, before;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, &before);
    w->started_ms = watch_now_ms();
    w->child = fork();
    if (w->child < 0)
        watch_die("fork");
    if (w->child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        execvp(command[0], command);
        fprintf(stderr, "watch: %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
}

static void watch_sample(struct watch *w)
{
    const double at_ms = watch_now_ms() - w->started_ms;
    const long resident_kib = watch_resident_kib(w);
    if (resident_kib > 0)
        fprintf(w->samples, "%.0f %ld\n", at_ms, resident_kib);
    if (at_ms > w->limit_ms && !w->timed_out) {
        w->timed_out = true;
        kill(w->child, SIGKILL);
    }
}

static int watch_status(const struct watch *w, int status)
{
    if (w->timed_out)
        return 124;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Samples until the child has ended; returns its status in the shell's numbering. */
static int watch_until_end(struct watch *w)
{
    const struct timespec period = { .tv_nsec = SAMPLE_PERIOD_NS };
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    struct rusage usage;
    int status;
    for (;;) {
        watch_sample(w);
        sigtimedwait(&chld, NULL, &period);
        const pid_t ended = wait4(w->child, &status, WNOHANG, &usage);
        if (ended == w->child)
            break;
        if (ended < 0 && errno != EINTR)
            watch_die("wait4");
    }
    const double wall_ms = watch_now_ms() - w->started_ms;
    const int result = watch_status(w, status);
    fprintf(w->samples, "end %.0f %ld %d\n", wall_ms, usage.ru_maxrss, result);
    return result;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: watch SAMPLES LIMIT_SECONDS COMMAND [ARGUMENT...]\n");
        return 125;
    }
    struct watch w = { .samples = fopen(argv[1], "we"), .limit_ms = atof(argv[2]) * 1e3 };
    if (w.samples == NULL)
        watch_die(argv[1]);
    watch_start(&w, argv + 3);
    const int result = watch_until_end(&w);
    if (fclose(w.samples) != 0)
        watch_die(argv[1]);
    return result;
}
