/*
 * observe -- how much metadata does a real program's heap need?
 *
 * A library, preloaded beside this one.  It asks for the memstats twenty times a second, and when the
 * process ends appends a line to the file that OBSERVE_FILE names, of the moment when the heap was largest:
 * its bytes in use, its blocks, their bytes, the bytes of span headers and of the collector's tables.
 * Processes whose heap stays below 8 MiB write nothing.
 */
#include "gcalloc.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEAST_BYTES = 8 << 20, PERIOD_US = 50000 };

static struct gc_memstats largest;
static pthread_mutex_t looking = PTHREAD_MUTEX_INITIALIZER;

static void look(void)
{
    struct gc_memstats now;

    pthread_mutex_lock(&looking);
    gc_read_memstats(&now);
    if (now.heap_inuse > largest.heap_inuse)
        largest = now;
    pthread_mutex_unlock(&looking);
}

static void *look_often(void *unused)
{
    for (;;) {
        look();
        usleep(PERIOD_US);
    }
    return unused;
}

__attribute__((constructor)) static void observe_begin(void)
{
    pthread_t thread;

    if (getenv("OBSERVE_FILE") != NULL && pthread_create(&thread, NULL, look_often, NULL) == 0)
        pthread_detach(thread);
}

__attribute__((destructor)) static void observe_end(void)
{
    const char *path = getenv("OBSERVE_FILE");

    if (path == NULL)
        return;
    look();
    FILE *file = largest.heap_inuse >= LEAST_BYTES ? fopen(path, "a") : NULL;

    if (file == NULL)
        return;
    fprintf(file, "%lu %lu %lu %lu %lu\n", largest.heap_inuse, largest.heap_objects, largest.heap_alloc,
            largest.mspan_inuse, largest.gc_sys);
    fclose(file);
}
