/* leaky_threads: several threads that build linked documents and forget most of them.
 *
 * PURPOSE: the C program of the leak table. It knows nothing of the library. Every thread keeps a
 * shelf of documents (the live set), builds new ones in place of old ones, frees one old document
 * in four properly and forgets the other three. A document is a cycle (its parts point back to
 * it), so that neither ownership nor reference counts would find it. Usage: leaky_threads MIB
 * [THREADS]. LOCKING: none; a shelf belongs to its thread until main has joined it.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MAX = 64,
    SHELF_SLOTS = 2048,
    PARTS_MAX = 8,
    FREED_EVERY = 4,
};

struct part {
    struct document *owner;
    size_t bytes;
    uint64_t stamp;
    unsigned char text[];
};

struct document {
    uint64_t stamp;
    unsigned parts_count;
    struct part *parts[];
};

struct worker {
    pthread_t thread;
    uint64_t random;
    size_t leak_bytes;
    size_t leaked_bytes;
    unsigned long documents;
    struct document **shelf;
};

static void *worker_alloc(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL) {
        fprintf(stderr, "leaky_threads: out of memory\n");
        exit(1);
    }
    return block;
}

/* xorshift64: the same documents in every run, whatever the allocator. */
static uint64_t worker_random(struct worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* Mostly 16 to 1023 bytes; one part in 256 is an attachment of 32 KiB. */
static size_t part_bytes(struct worker *w)
{
    const uint64_t r = worker_random(w);
    if (r % 256 == 0)
        return 32 * 1024;
    return ((size_t)16 << (r >> 8) % 6) + (r >> 16) % 496;
}

static struct part *part_new(struct worker *w, struct document *owner)
{
    const size_t bytes = part_bytes(w);
    struct part *p = worker_alloc(sizeof *p + bytes);
    p->owner = owner;
    p->bytes = bytes;
    p->stamp = owner->stamp;
    memset(p->text, (int)(owner->stamp & 0xff), bytes);
    return p;
}

static struct document *document_new(struct worker *w)
{
    const unsigned count = 1 + (unsigned)(worker_random(w) % PARTS_MAX);
    struct document *d = worker_alloc(sizeof *d + count * sizeof d->parts[0]);
    d->stamp = worker_random(w);
    d->parts_count = count;
    for (unsigned i = 0; i < count; i++)
        d->parts[i] = part_new(w, d);
    return d;
}

static size_t document_bytes(const struct document *d)
{
    size_t bytes = sizeof *d + d->parts_count * sizeof d->parts[0];
    for (unsigned i = 0; i < d->parts_count; i++)
        bytes += sizeof *d->parts[i] + d->parts[i]->bytes;
    return bytes;
}

static void document_free(struct document *d)
{
    for (unsigned i = 0; i < d->parts_count; i++)
        free(d->parts[i]);
    free(d);
}

/* document_check -- every byte is what document_new wrote, or the program ends with status 1 */
static void document_check(const struct document *d)
{
    for (unsigned i = 0; i < d->parts_count; i++) {
        const struct part *p = d->parts[i];
        size_t good = 0;
        while (good < p->bytes && p->text[good] == (unsigned char)(d->stamp & 0xff))
            good++;
        if (p->owner != d || p->stamp != d->stamp || good != p->bytes) {
            fprintf(stderr, "leaky_threads: a live document is damaged\n");
            exit(1);
        }
    }
}

/* worker_replace -- puts a new document on the shelf; checks the old one, frees or forgets it */
static void worker_replace(struct worker *w)
{
    const size_t slot = worker_random(w) % SHELF_SLOTS;
    struct document *old = w->shelf[slot];
    w->shelf[slot] = document_new(w);
    w->documents++;
    if (old == NULL)
        return;
    document_check(old);
    if (w->documents % FREED_EVERY == 0)
        document_free(old);
    else
        w->leaked_bytes += document_bytes(old); /* leak: the only pointer to it is gone */
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    w->shelf = calloc(SHELF_SLOTS, sizeof w->shelf[0]);
    if (w->shelf == NULL)
        exit(1);
    while (w->leaked_bytes < w->leak_bytes)
        worker_replace(w);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS_MAX];
    const size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    const size_t threads = argc > 2 ? strtoul(argv[2], NULL, 10) : 4;
    if (threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "leaky_threads: 1 to %d threads\n", THREADS_MAX);
        return 1;
    }
    for (size_t i = 0; i < threads; i++) {
        workers[i].random = 88172645463325252u + i * 1000003u;
        workers[i].leak_bytes = (mib << 20) / threads;
        if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) != 0)
            return 1;
    }
    size_t live_bytes = 0, leaked_bytes = 0;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        leaked_bytes += workers[i].leaked_bytes;
        for (size_t slot = 0; slot < SHELF_SLOTS; slot++) {
            if (workers[i].shelf[slot] == NULL)
                continue;
            document_check(workers[i].shelf[slot]);
            live_bytes += document_bytes(workers[i].shelf[slot]);
        }
    }
    printf("%zu threads, %zu MiB leaked, %zu KiB live\n", threads, leaked_bytes >> 20,
           live_bytes >> 10);
    return 0;
}
