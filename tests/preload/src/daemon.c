/* PURPOSE: daemon(3) after some work: the program goes on in a child of which nobody waits, with
 * its descriptors on /dev/null. Leaves its result in the file argv[1]. */
#define _GNU_SOURCE
#include "blocks.h"
#include <pthread.h>
#include <unistd.h>

enum { N = 3000 };

static struct block *held[N];

static void *more(void *arg)
{
    churn(8192);
    return arg;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    int good = 0;
    FILE *out;

    if (argc != 2)
        return 2;
    for (unsigned i = 0; i < N; i++)
        held[i] = block_make(i);
    churn(4096);
    if (daemon(1, 0) != 0)
        return 1;
    churn(4096);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, more, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < N; i++)
        good += block_check(held[i], i);
    out = fopen(argv[1], "w");
    fprintf(out, "%d of %d blocks\n", good, N);
    fclose(out);
    /* The reader waits for this name, so the file is whole by then. */
    return link(argv[1], "done");
}
