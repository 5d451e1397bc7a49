/* PURPOSE: a program that closes every descriptor, as daemons do, and works on: with threads, a
 * fork, and a file that gets the number of a closed one. The result is left in the file argv[1]. */
#define _GNU_SOURCE
#include "blocks.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 3000 };

static void *work(void *arg)
{
    struct block **held = calloc(N, sizeof *held);
    intptr_t good = 0;

    (void)arg;
    for (unsigned i = 0; i < N; i++)
        held[i] = block_make(i);
    churn(8192);
    for (unsigned i = 0; i < N; i++) {
        good += block_check(held[i], i);
        free(held[i]);
    }
    free(held);
    return (void *)good;
}

static int work_in_threads(void)
{
    pthread_t threads[3];
    int good = 0;

    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, NULL);
    for (int i = 0; i < 3; i++) {
        void *result;

        pthread_join(threads[i], &result);
        good += (int)(intptr_t)result;
    }
    return good;
}

int main(int argc, char **argv)
{
    int status = 0;
    int before, first, after, descriptor;

    if (argc != 2)
        return 2;
    before = work_in_threads();
    closefrom(0);
    first = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    after = work_in_threads();
    if (fork() == 0)
        _exit(work_in_threads() == 3 * N ? 7 : 1);
    wait(&status);
    descriptor = open("/dev/null", O_RDONLY);
    dprintf(first, "%d and %d of %d blocks, child status %d, first descriptor %d, next %d\n",
        before, after, 3 * N, WEXITSTATUS(status), first, descriptor);
    return after == 3 * N ? 5 : 1;
}
