/* vforks.c -- a thread without a structure makes a child that shares its storage
 *
 * PURPOSE  A destructor of thread-specific data runs when the library has let go of the thread.  It calls vfork, and
 *          the child writes and allocates, in the parent's thread-local storage.  Afterwards the thread is
 *          nobody, or itself: with a structure that bears the child's number it would be taken for dead.
 *
 * Links what libgcalloc.a is made of.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world/thread.h"

enum { THREADS = 200 };

static pthread_key_t key;
static int null_fd;
static _Atomic int strangers, nobodies, failures;

static void make_child(void *unused)
{
    (void)unused;
    nobodies += thread_self == &thread_none;
    pid_t child = vfork();

    if (child == 0) {
        ssize_t written = write(null_fd, "x", 1);
        void *block = malloc(100);

        free(block);
        _exit(written == 1 && block != NULL ? 0 : 1);
    }
    int status;

    strangers += thread_self != &thread_none && thread_self->tid != gettid();
    failures += waitpid(child, &status, 0) != child || status != 0;
    free(malloc(100));
}

static void *run(void *unused)
{
    pthread_setspecific(key, &key);
    return unused;
}

int main(void)
{
    alarm(100);
    null_fd = open("/dev/null", O_WRONLY);
    pthread_key_create(&key, make_child);
    for (int i = 0; i < THREADS; i += 2) {
        pthread_t threads[2];

        for (int k = 0; k < 2; k++)
            if (pthread_create(&threads[k], NULL, run, NULL) != 0)
                return 2;
        for (int k = 0; k < 2; k++)
            pthread_join(threads[k], NULL);
    }
    bool good = strangers == 0 && failures == 0 && nobodies > 0;

    printf("%s %d threads, %d of them nobody; then %d strangers, %d children failed\n", good ? "ok" : "FAIL",
           THREADS, nobodies, strangers, failures);
    return !good;
}
