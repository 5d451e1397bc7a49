/* loader_plugin.c -- a library whose constructor, inside dlopen, waits for a thread
 *
 * PURPOSE  The thread is the first of the process to call a function that libgcalloc wraps, while the
 *          loader's lock is held: a lookup by dlsym would wait for ever.
 */
#include <poll.h>
#include <pthread.h>
#include <stddef.h>

static void *wait_a_little(void *unused)
{
    poll(NULL, 0, 1);
    return unused;
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, wait_a_little, NULL);
    pthread_join(thread, NULL);
}
