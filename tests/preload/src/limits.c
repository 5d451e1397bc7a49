/* PURPOSE: a program at the end of its address space: malloc must say NULL and ENOMEM, what was
 * allocated must stay good, and after a release malloc must work again. Run under ulimit -v. */
#include "blocks.h"
#include <errno.h>
#include <pthread.h>

struct chunk {
    struct chunk *next;
    struct block *small;
    char rest[(1 << 20) - 100];
};

/* fill -- a list of chunks of 1 MiB until malloc gives up */
static struct chunk *fill(unsigned *count)
{
    struct chunk *list = NULL;

    for (*count = 0; *count < 8192; ++*count) {
        struct chunk *c = malloc(sizeof *c);

        if (!c)
            break;
        c->next = list;
        c->small = *count < 500 ? block_make(*count) : NULL;
        list = c;
    }
    return list;
}

static int drop(struct chunk *list, unsigned count)
{
    int good = 0;

    while (list) {
        struct chunk *next = list->next;

        count--;
        good += !list->small || block_check(list->small, count);
        free(list->small);
        free(list);
        list = next;
    }
    return good;
}

static void *in_thread(void *arg)
{
    churn(4096);
    return arg;
}

int main(void)
{
    void *volatile big = NULL;
    pthread_t thread;

    for (int round = 0; round < 3; round++) {
        unsigned count;
        struct chunk *list;
        int error, none;

        errno = 0;
        list = fill(&count);
        error = errno;
        none = malloc((size_t)3 << 30) == NULL;
        printf("at least 1.5 GiB: %s, then %s, nothing bigger: %s\n", count >= 1536 ? "yes" : "no",
            error == ENOMEM ? "ENOMEM" : "no error", none ? "yes" : "no");
        printf("all good: %s\n", drop(list, count) == (int)count ? "yes" : "no");
    }
    errno = 0;
    big = calloc(1, (size_t)1 << 30);
    printf("1 GiB after all was freed: %s\n", big ? "yes" : "no");
    free(big);
    printf("a thread: %s\n", pthread_create(&thread, NULL, in_thread, NULL) == 0 ? "yes" : "no");
    pthread_join(thread, NULL);
    return 0;
}
