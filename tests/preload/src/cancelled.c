/* cancelled.c -- a thread is cancelled while the collector makes way for it
 *
 * initgroups may ask a server, and wait.  Ours (cancelled_groups.c, found after the library's) waits for
 * ever.  The thread that called it is cancelled; afterwards the collector must go on: what leaks is
 * still reclaimed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <grp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern int initgroups_waits;    /* atomic */
static int cleaned;

static void clean_up(void *argument)
{
    (void)argument;
    free(malloc(100));
    cleaned++;
}

static void *run(void *unused)
{
    pthread_cleanup_push(clean_up, NULL);
    initgroups("nobody", 0);
    pthread_cleanup_pop(0);
    return unused;
}

int main(void)
{
    int (*collect)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "gc_alloc_collect");

    for (int i = 1; i <= 5; i++) {
        pthread_t thread;
        void *result;

        __atomic_store_n(&initgroups_waits, 0, __ATOMIC_SEQ_CST);
        pthread_create(&thread, NULL, run, NULL);
        while (!__atomic_load_n(&initgroups_waits, __ATOMIC_SEQ_CST))
            usleep(1000);
        pthread_cancel(thread);
        pthread_join(thread, &result);
        /* gc_collect is a bool: 0 when cycles are suspended. */
        if (result != PTHREAD_CANCELED || cleaned != i ||
            (collect != NULL && (collect() & 1) == 0)) {
            puts("cancelled in vain, or the collector waits for ever");
            return 1;
        }
        for (int k = 0; k < 2000; k++)
            memset(malloc(1000), 1, 1000);
    }
    puts("all is well");
    return 0;
}
