/* PURPOSE: leaks argv[1] MiB in lists of small blocks from two threads, keeps a little, and prints
 * whether what it kept is good, and its peak memory for the caller to judge. With a second argument
 * it drops root's privileges first, as daemons do. */
#include "blocks.h"
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

enum { KEPT = 1000 };

struct link {
    struct link *next;
    struct block *block;
};

static size_t leak_mib;

static void *leak(void *arg)
{
    size_t goal = (leak_mib << 20) / 2;
    struct link *list = NULL;
    unsigned n = 0;

    for (size_t done = 0; done < goal; n++) {
        struct link *l = malloc(sizeof *l);

        l->next = list;
        l->block = block_make(n);
        list = n % 100 ? l : NULL;
        done += sizeof *l + block_length(n);
    }
    return arg;
}

int main(int argc, char **argv)
{
    struct block *kept[KEPT];
    pthread_t threads[2];
    struct rusage usage;
    int good = 0;

    if (argc > 2 && (setgid(65534) || setuid(65534)))
        return 2;
    leak_mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
    for (unsigned i = 0; i < KEPT; i++)
        kept[i] = block_make(i);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, leak, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < KEPT; i++)
        good += block_check(kept[i], i);
    printf("kept: %d of %d\n", good, KEPT);
    getrusage(RUSAGE_SELF, &usage);
    printf("peak %ld MiB\n", usage.ru_maxrss >> 10);
    return 0;
}
