/* full_stderr.c -- a standard error that nobody reads must not hold up a cycle
 *
 * With gctrace=1 the collector prints a line for each cycle, and threads wait for it.  So
 *   pipe       standard error is a pipe that is full: cycles go on;
 *   race       a thread takes the room in the pipe as soon as there is some: cycles go on;
 *   socket     the same as pipe with a socket;
 *   drained    when there is room again, the lines come, after one that says how many were lost;
 *   closed     nobody can read any more: cycles go on, and no SIGPIPE comes.
 * Where one waits, the alarm ends it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gcalloc.h"

enum { CYCLES = 50, ALARM_S = 60 };

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            printf("FAIL line %d: %s\n", __LINE__, #condition);             \
            fflush(stdout);                                                 \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

static int stopping;            /* atomic */

/* gctrace is read when the library starts. */
static void run_with_trace(char **argv)
{
    const char *debug = getenv("GCALLOC_DEBUG");
    char value[256];

    if (debug != NULL && strstr(debug, "gctrace=") != NULL)
        return;
    snprintf(value, sizeof value, "%s%sgctrace=2", debug != NULL ? debug : "",
             debug != NULL ? "," : "");
    setenv("GCALLOC_DEBUG", value, 1);
    execv("/proc/self/exe", argv);
    REQUIRE(!"execv");
}

static void fill(int fd, bool by_socket)
{
    char text[4096];

    memset(text, '.', sizeof text);
    for (size_t bytes = sizeof text; bytes > 0; bytes /= 2)
        while ((by_socket ? send(fd, text, bytes, MSG_DONTWAIT) : write(fd, text, bytes)) > 0)
            continue;
}

static void collect(int cycles)
{
    for (int i = 0; i < cycles; i++)
        REQUIRE(gc_collect());
}

/* A second description of the pipe's writing end: what is set there does not show in descriptor 2. */
static int open_again(int fd)
{
    char name[64];

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int again = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC);

    REQUIRE(again >= 0);
    return again;
}

static void *take_room(void *argument)
{
    while (!__atomic_load_n(&stopping, __ATOMIC_SEQ_CST))
        fill(*(int *)argument, false);
    return NULL;
}

/* Reads what there is; the last bytes are left in `tail`. */
static void drain(int fd, char *tail, size_t bytes)
{
    static char text[1 << 20];
    size_t count = 0;
    ssize_t got;

    REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while ((got = read(fd, text + count, sizeof text - 1 - count)) > 0)
        count += (size_t)got;
    text[count] = 0;
    snprintf(tail, bytes, "%s", count < bytes ? text : text + count - bytes + 1);
}

static void with_pipe(void)
{
    static char tail[4096];
    pthread_t thread;
    int ends[2];

    REQUIRE(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[1], 2) == 2);
    int again = open_again(2);

    fill(again, false);
    collect(CYCLES);
    printf("ok pipe\n");

    REQUIRE(pthread_create(&thread, NULL, take_room, &again) == 0);
    for (int i = 0; i < CYCLES; i++) {
        char some[4096];

        REQUIRE(read(ends[0], some, sizeof some) > 0);
        collect(2);
    }
    __atomic_store_n(&stopping, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    printf("ok race\n");

    fill(again, false);         /* who took the room may not have had its turn at the end */
    collect(2);
    drain(ends[0], tail, sizeof tail);
    collect(1);
    drain(ends[0], tail, sizeof tail);
    REQUIRE(strstr(tail, "lines lost: no room\ngc ") != NULL);
    collect(1);
    drain(ends[0], tail, sizeof tail);
    REQUIRE(strncmp(tail, "gc ", 3) == 0 && strstr(tail, "lost") == NULL);
    printf("ok drained\n");

    close(ends[0]);
    collect(CYCLES);
    printf("ok closed\n");
    close(again);
    close(ends[1]);
}

static void with_socket(void)
{
    int ends[2];

    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0 &&
            dup2(ends[1], 2) == 2);
    fill(2, true);
    collect(CYCLES);
    printf("ok socket\n");
}

int main(int argc, char **argv)
{
    (void)argc;
    run_with_trace(argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(ALARM_S);
    with_pipe();
    with_socket();
    return 0;
}
