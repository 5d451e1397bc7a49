/*
 * launch -- runs a command, and says how long it took and how much memory it had.
 *
 * Usage: launch REPORT COUNT COMMAND ARGUMENT...
 * Runs the command COUNT times, one after another, and writes a line to the file REPORT for each:
 * wall ns, user us, system us, peak RSS in KiB, wait status. The times and the RSS are those of the
 * command and of all children it has waited for.
 * A program of its own, linked statically: it takes no preload, and it is small. The kernel counts
 * the memory of whoever starts a program into the peak RSS of that program; started from Python,
 * `true` would seem to have 20 MiB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void die(const char *what)
{
    perror(what);
    exit(125);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

static long long time_us(struct timeval time)
{
    return time.tv_sec * 1000000LL + time.tv_usec;
}

/* Returns the wait status. */
static int command_run(int report, char **command)
{
    struct rusage usage;
    pid_t child;
    int status;
    uint64_t start_ns = now_ns();
    if (posix_spawnp(&child, command[0], NULL, NULL, command, environ) != 0)
        die(command[0]);
    if (wait4(child, &status, 0, &usage) != child)
        die("wait4");
    uint64_t elapsed_ns = now_ns() - start_ns;
    if (dprintf(report, "%llu %lld %lld %ld %d\n", (unsigned long long)elapsed_ns,
                time_us(usage.ru_utime), time_us(usage.ru_stime), usage.ru_maxrss, status) < 0)
        die("report");
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: launch REPORT COUNT COMMAND...\n");
        return 125;
    }
    int report = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (report < 0)
        die(argv[1]);
    int failed = 0;
    for (long left = strtol(argv[2], NULL, 10); left > 0; left--)
        failed |= command_run(report, argv + 3);
    return failed ? 1 : 0;
}
