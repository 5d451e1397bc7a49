/* torture_place.h -- where a thread keeps the only pointers to its structures
 *
 * PURPOSE   A place is one edge that is the sole way to a structure, or an empty edge: in a hall,
 *           or in a node.  A hall is a piece of memory of one sort with SLOTS places in it: stack,
 *           thread-local, static, mapped, registered, large malloc block, large gc_alloc object,
 *           blocks that are realloc'ed all the time.  Besides there are mailboxes, where threads
 *           leave structures for each other.
 * LOCKING   Halls belong to their worker.  A mailbox is BUSY while somebody reads or writes it.
 * LIFETIME  Halls live from hall_open_all to hall_close_all, which a worker calls at its ends.
 */
#ifndef TORTURE_PLACE_H
#define TORTURE_PLACE_H

#include "torture_node.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>
#include <sys/mman.h>

enum { MAX_THREADS = 64, MAX_SLOTS = 16, KEYS = 4, MAILBOXES = 64 };
enum sort { STACK, TLS, BSS, MAPPED, SHARED, LARGE, VECTOR, GC_LARGE, GC_VECTOR, HALLS };
enum leaks { LEAK_NONE, LEAK_GC, LEAK_ALL };

struct place {
    struct edge *edge;          /* NULL: no place */
    bool barrier;               /* lies in gc_alloc memory */
    const char *holder;         /* for messages */
};

struct hall {
    struct edge *edges;
    size_t bytes;
    size_t stride;
};

static const char *const hall_names[HALLS] = {
    "the stack", "a thread-local", "bss", "a private mapping", "registered memory",
    "a large malloc block", "a realloc'ed block", "a large gc object", "a gc_realloc'ed object",
};
static unsigned slots = MAX_SLOTS;              /* constant once threads run */
static enum leaks leaks = LEAK_ALL;             /* constant once threads run */

static __thread struct edge tls_edges[MAX_SLOTS];
static struct edge bss_edges[MAX_THREADS][4096];        /* 4 MiB */

/* ---- Places ------------------------------------------------------------------------- */

static void place_store(struct place place, struct edge value)
{
    edge_store(place.edge, place.barrier, value);
}

static bool hall_has_barrier(enum sort sort) { return sort == GC_LARGE || sort == GC_VECTOR; }

static struct place hall_place(struct hall *halls, enum sort sort, unsigned slot)
{
    struct hall *hall = &halls[sort];

    return (struct place){ &hall->edges[slot * hall->stride], hall_has_barrier(sort),
                           hall_names[sort] };
}

static struct place pick_place(struct hall *halls)
{
    return hall_place(halls, (enum sort)random_below(HALLS), random_below(slots));
}

/* An edge at or below a place: an empty one, or one that may be cut.  May find none. */
static struct place pick_inside(struct place place, bool empty)
{
    unsigned steps = random_below(8);

    for (unsigned i = 0; i < 12; i++) {
        struct node *node = place.edge->to;
        if (node == NULL || node_owned(node) == 0)
            break;
        if (!empty && i >= steps && !(node->shape & MEMBER))
            return place;
        place = (struct place){ node_edge(node, random_below(node_owned(node))),
                                node_kind(node) == KIND_GC, "a node" };
    }
    struct node *node = place.edge->to;
    bool good = empty ? node == NULL : node != NULL && !(node->shape & MEMBER);

    return good ? place : (struct place){ NULL, false, NULL };
}

/* ---- Losing things ------------------------------------------------------------------ */

/* The edge was the only one to its structure.  Gives it to the collector, or frees it, or parts. */
static void let_go(struct edge edge)
{
    struct census census = { 0, 0, 0 };
    unsigned choice = leaks == LEAK_ALL ? random_below(4) : leaks == LEAK_GC ? 2 : 1;

    if (edge.to == NULL)
        return;
    verify(&edge, "what is let go", &census);
    if (choice == 1 || choice == 2)
        free_all(edge.to, choice == 2);
    if (choice == 1)
        return;
    tally.leaked_gc += census.gc_bytes;
    tally.leaked_malloc += choice == 2 ? 0 : census.malloc_bytes;
    if (choice == 3 && node_kind(edge.to) == KIND_MALLOC) {
        tally.leaked_malloc -= gc_size(edge.to);
        free(edge.to);
    }
}

static void drop(struct place place)
{
    struct edge edge = *place.edge;

    place_store(place, no_edge);
    let_go(edge);
}

/* Something between two halves of a move: garbage, a wait, a cycle. */
static void disturb(void)
{
    unsigned choice = random_below(4000);

    if (choice < 400) {
        for (unsigned i = 0; i < 20; i++) {
            char *block = block_make(KIND_MALLOC, 16 + random_below(2000));
            if (leaks == LEAK_ALL && random_below(2) == 0)
                tally.leaked_malloc += gc_size(block);
            else
                free(block);
        }
    } else if (choice < 800) {
        enum kind kind = random_below(2) == 0 ? KIND_GC : KIND_BLOB;
        void *object = block_make(kind, 64 << random_below(6));
        tally.leaked_gc += gc_size(object);
        if (leaks == LEAK_NONE)
            gc_free(object);
    } else if (choice < 1000) {
        sched_yield();
    } else if (choice < 1010) {
        usleep(random_below(500));
    } else if (choice == 1010) {
        gc_collect();
    }
}

/* ---- Halls -------------------------------------------------------------------------- */

static void *map_private(size_t bytes)
{
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (base == MAP_FAILED)
        abort();
    return base;
}

/* Every mapping that children share with us, so that they can part with it.  A slot is claimed by
 * the worker whose mapping it is. */
static _Atomic(void *) shared_maps[4 * MAX_THREADS];

static size_t shared_bytes(void) { return (256 << 10) / (MAX_SLOTS / slots); }

static void shared_rename(void *from, void *to)
{
    for (size_t i = 0;; i = (i + 1) % (sizeof shared_maps / sizeof shared_maps[0])) {
        void *expected = from;
        if (atomic_compare_exchange_strong(&shared_maps[i], &expected, to))
            return;
    }
}

/* In a child, first of all: the parent goes on writing to what is shared. */
static void shared_unshare(void)
{
    for (size_t i = 0; i < sizeof shared_maps / sizeof shared_maps[0]; i++)
        if (shared_maps[i] != NULL &&
            mmap(shared_maps[i], shared_bytes(), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            _exit(3);
}

/* Memory that is a root because it is registered, and for no other reason. */
static void *map_registered(size_t bytes)
{
    char name[] = "/tmp/torture.XXXXXX";
    int fd = mkstemp(name);
    void *base = MAP_FAILED;

    if (fd >= 0 && unlink(name) == 0 && ftruncate(fd, (off_t)bytes) == 0)
        base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (base != MAP_FAILED)
        shared_rename(NULL, base);
    for (int tries = 0; base != MAP_FAILED && tries < 1000; tries++)
        if (gc_add_roots(base, (char *)base + bytes))
            return base;
    abort();
}

static void hall_close(enum sort sort, struct hall *hall)
{
    switch (sort) {
    case SHARED:
        gc_remove_roots(hall->edges, (char *)hall->edges + hall->bytes);
        shared_rename(hall->edges, NULL);
        munmap(hall->edges, hall->bytes);
        break;
    case MAPPED:
        munmap(hall->edges, hall->bytes);
        break;
    case LARGE:
    case VECTOR:
        free(hall->edges);
        break;
    case GC_LARGE:
    case GC_VECTOR:
        if (leaks == LEAK_NONE || random_below(2) == 0)
            gc_free(hall->edges);
        break;
    default:
        break;
    }
    hall->edges = NULL;
}

/* Empty memory of one of the sorts that can be had at any time. */
static void hall_open(enum sort sort, struct hall *hall)
{
    size_t smallest = shared_bytes();
    size_t bytes = smallest + random_below((uint32_t)(huge_bytes - smallest)) / 4096 * 4096;

    if (random_below(8) != 0 || sort == SHARED)
        bytes = smallest;
    if (sort == VECTOR || sort == GC_VECTOR)
        bytes = slots * sizeof(struct edge);
    hall->bytes = bytes;
    hall->stride = bytes / sizeof(struct edge) / slots;
    if (sort == MAPPED)
        hall->edges = map_private(bytes);
    else if (sort == SHARED)
        hall->edges = map_registered(bytes);
    else
        hall->edges = block_make(hall_has_barrier(sort) ? KIND_GC : KIND_MALLOC, bytes);
}

/* Everything moves to another hall of the sort, and the old one goes. */
static void hall_replace(struct hall *halls, enum sort sort)
{
    struct hall old = halls[sort], new;

    hall_open(sort, &new);
    for (unsigned i = 0; i < slots; i++) {
        struct edge *from = &old.edges[i * old.stride], *to = &new.edges[i * new.stride];
        if (hall_has_barrier(sort))
            gc_memmove(to, from, sizeof *to);
        else
            *to = *from;
    }
    halls[sort] = new;
    hall_close(sort, &old);
}

/* Grows or shrinks a block that may move; large ones are moved by mremap. */
static void hall_realloc(struct hall *hall, bool gc)
{
    size_t least = slots * sizeof(struct edge), most = huge_bytes / 2;
    size_t bytes = random_below(16) == 0 ? most / 2 + random_below((uint32_t)most / 2) / 16 * 16
                                         : least + random_below(2000) * sizeof(struct edge);
    void *edges = gc ? gc_realloc(hall->edges, bytes) : realloc(hall->edges, bytes);

    if (edges == NULL)
        return;                 /* injected: the old block is intact */
    hall->edges = edges;
    hall->bytes = bytes;
}

/* A mapping that moves: what the collector knew about the old one is void. */
static void hall_remap(struct hall *hall)
{
    void *target = map_private(hall->bytes);
    void *edges = mremap(hall->edges, hall->bytes, hall->bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                         target);

    if (edges == MAP_FAILED)
        abort();
    hall->edges = edges;
}

static void hall_renew(struct hall *halls, enum sort sort)
{
    if (sort == VECTOR || sort == GC_VECTOR)
        hall_realloc(&halls[sort], sort == GC_VECTOR);
    else if (sort == MAPPED && random_below(2) == 0)
        hall_remap(&halls[sort]);
    else if (sort >= MAPPED)
        hall_replace(halls, sort);
}

static void hall_open_all(struct hall *halls, unsigned worker, struct edge *stack)
{
    halls[STACK] = (struct hall){ stack, MAX_SLOTS * sizeof *stack, 1 };
    halls[TLS] = (struct hall){ tls_edges, sizeof tls_edges, 1 };
    halls[BSS] = (struct hall){ bss_edges[worker], sizeof bss_edges[worker], 4096 / MAX_SLOTS };
    for (enum sort sort = MAPPED; sort < HALLS; sort++)
        hall_open(sort, &halls[sort]);
}

/* All that is in the halls moves to `edges`, a malloc block with room for it. */
static void hall_close_all(struct hall *halls, struct edge *edges)
{
    for (enum sort sort = STACK; sort < HALLS; sort++) {
        for (unsigned i = 0; i < slots; i++) {
            struct place place = hall_place(halls, sort, i);
            edges[sort * slots + i] = *place.edge;
            place_store(place, no_edge);
        }
        hall_close(sort, &halls[sort]);
    }
}

/* ---- Mailboxes ---------------------------------------------------------------------- */

#define MAIL_BUSY ((struct node *)1)

struct mailbox {
    _Atomic(struct node *) to;
    uint64_t id;                /* who made the box MAIL_BUSY */
};

static struct mailbox mailboxes[MAILBOXES];

/* Takes what is in the box and leaves `edge`, for a while held in registers only. */
static struct edge mail_exchange(struct edge edge)
{
    struct mailbox *box = &mailboxes[random_below(MAILBOXES)];
    struct edge found;

    while ((found.to = atomic_exchange(&box->to, MAIL_BUSY)) == MAIL_BUSY)
        sched_yield();
    found.id = box->id;
    box->id = edge.id;
    atomic_store(&box->to, edge.to);
    return found;
}

static void mail_drop_all(void)
{
    for (unsigned i = 0; i < MAILBOXES; i++) {
        struct edge edge = { atomic_exchange(&mailboxes[i].to, NULL), mailboxes[i].id };
        let_go(edge);
    }
}

#endif
