/* torture_node.h -- objects that notice when they were taken for garbage
 *
 * PURPOSE    Nodes of malloc memory, of gc_alloc memory and of gc_alloc_noscan memory, and
 *            structures built of them: lists, trees, graphs with cycles, tables.
 * INVARIANT  A node knows its own address, and an edge knows the number of the node it points
 *            to.  So a node that was reclaimed and has become another node, or anything else, is
 *            noticed by whoever follows the edge.  No other word in a node looks like a
 *            pointer: numbers have 32 bits, the address is complemented.
 *            A node has one owner: one edge.  Only the last edge of a CROSSED node may point to a
 *            node it does not own, of the same graph; edges to a MEMBER of a graph are never cut.
 * LOCKING    None: a structure belongs to one thread at a time.
 */
#ifndef TORTURE_NODE_H
#define TORTURE_NODE_H

#include "torture_plain.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_USED = 64, MAX_MEMBERS = 60, MAX_HUGE_BYTES = 8 << 20 };
enum kind { KIND_MALLOC, KIND_GC, KIND_BLOB };
enum { KIND_MASK = 3, CROSSED = 4, MEMBER = 8, USED_SHIFT = 4, STRIDE_SHIFT = 11 };

struct edge {
    struct node *to;
    uint64_t id;                /* of the node pointed to; 0: none */
};

struct node {
    uint64_t self;              /* complemented address */
    uint64_t id;
    uint64_t shape;             /* kind and flags, used edges, distance between used edges */
    uint64_t sum;
    struct edge edges[];        /* of a blob: words of data */
};

/* What a thread has done; added up when it ends. */
struct tally {
    uint64_t steps, moves, builds, checked, leaked_malloc, leaked_gc;
};

struct census {
    uint64_t nodes, malloc_bytes, gc_bytes;
};

static __thread uint64_t random_state = 1;
static __thread struct tally tally;
static size_t huge_bytes = MAX_HUGE_BYTES;      /* constant once threads run */

static const struct edge no_edge;

static uint32_t random_below(uint32_t bound)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 0x2545f4914f6cdd1dull >> 32) % bound);
}

static void random_seed(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull | 1;
    for (int i = 0; i < 8; i++)
        random_below(2);
}

/* ---- One node ----------------------------------------------------------------------- */

static unsigned node_kind(const struct node *node) { return node->shape & KIND_MASK; }
static unsigned node_used(const struct node *node) { return node->shape >> USED_SHIFT & 127; }
static size_t node_stride(const struct node *node) { return node->shape >> STRIDE_SHIFT; }

static uint64_t node_sum(const struct node *node)
{
    uint64_t mixed = node->id * 0x9e3779b97f4a7c15ull ^ node->shape * 0xc2b2ae3d27d4eb4full;

    return mixed >> 32;
}

/* The last one may be a cross edge. */
static unsigned node_owned(const struct node *node)
{
    return node_used(node) - ((node->shape & CROSSED) != 0);
}

static struct edge *node_edge(struct node *node, unsigned index)
{
    return &node->edges[index * node_stride(node)];
}

static __attribute__((noreturn)) void node_lost(const struct edge *edge, const char *holder)
{
    const struct node *node = edge->to;

    fprintf(stderr, "torture: LOST node %p number %llx, held by %s in the edge at %p\n",
            (const void *)node, (unsigned long long)edge->id, holder, (const void *)edge);
    fprintf(stderr, "torture: in its place: self %llx number %llx shape %llx sum %llx\n",
            (unsigned long long)node->self, (unsigned long long)node->id,
            (unsigned long long)node->shape, (unsigned long long)node->sum);
    abort();
}

static void node_check_blob(const struct edge *edge, const char *holder)
{
    const uint64_t *data = (const uint64_t *)edge->to->edges;
    size_t words = node_stride(edge->to);

    for (size_t i = 0; i < words; i++)
        if (data[i] != edge->id)
            node_lost(edge, holder);
}

/* The node at an edge that is not empty is the one that was put there. */
static void node_check(const struct edge *edge, const char *holder)
{
    const struct node *node = edge->to;

    if (node->self != ~(uint64_t)(uintptr_t)node || node->id != edge->id ||
        node->sum != node_sum(node))
        node_lost(edge, holder);
    if (node_kind(node) == KIND_BLOB)
        node_check_blob(edge, holder);
    tally.checked++;
}

static void *malloc_some_way(size_t bytes)
{
    void *block;

    switch (random_below(8)) {
    case 0:
        return calloc(1, bytes);
    case 1:
        return realloc(NULL, bytes);
    case 2:
        return posix_memalign(&block, (size_t)16 << random_below(5), bytes) == 0 ? block : NULL;
    default:
        return malloc(bytes);
    }
}

static void *gc_alloc_some_way(size_t bytes)
{
    switch (random_below(4)) {
    case 0:
        return gc_alloc_array(bytes / 8, 8);
    default:
        return gc_alloc(bytes);
    }
}

/* A new block; with memory failing now and then (failvm) another attempt may have more luck. */
static void *block_make(enum kind kind, size_t bytes)
{
    void *block = NULL;

    for (int tries = 0; block == NULL && tries < 1000; tries++)
        block = kind == KIND_MALLOC ? malloc_some_way(bytes)
                : kind == KIND_GC ? gc_alloc_some_way(bytes)
                                  : gc_alloc_noscan(bytes);
    if (block == NULL) {
        fprintf(stderr, "torture: no memory for %zu bytes\n", bytes);
        abort();
    }
    if (kind == KIND_MALLOC)
        memset(block, 0, bytes);
    return block;
}

static struct node *node_make(enum kind kind, unsigned flags, unsigned used, size_t stride)
{
    size_t bytes = sizeof(struct node) +
                   (kind == KIND_BLOB ? stride * 8 : used * stride * sizeof(struct edge));
    struct node *node = block_make(kind, bytes);

    node->self = ~(uint64_t)(uintptr_t)node;
    node->id = random_below(UINT32_MAX) + 1ull;
    node->shape = kind | flags | used << USED_SHIFT | stride << STRIDE_SHIFT;
    node->sum = node_sum(node);
    for (size_t i = 0; kind == KIND_BLOB && i < stride; i++)
        ((uint64_t *)node->edges)[i] = node->id;
    return node;
}

static struct edge edge_to(struct node *node) { return (struct edge){ node, node->id }; }

/* Stores an edge into gc_alloc memory, in one of the ways there are. */
static void edge_store_barrier(struct edge *edge, struct edge value)
{
    switch (random_below(4)) {
    case 0:
        (void)GC_SWAP(&edge->to, value.to);
        break;
    case 1:
        gc_memmove(edge, &value, sizeof value);
        break;
    case 2:
        if (!gc_compare_exchange(&edge->to, edge->to, value.to))
            abort();
        break;
    default:
        GC_WRITE(&edge->to, value.to);
    }
    edge->id = value.id;
}

/* Stores an edge; barrier: it lies in gc_alloc memory. */
static void edge_store(struct edge *edge, bool barrier, struct edge value)
{
    if (barrier) {
        edge_store_barrier(edge, value);
    } else {
        __atomic_store_n(&edge->to, value.to, __ATOMIC_RELAXED);    /* now, not later */
        edge->id = value.id;
    }
}

static void node_link(struct node *node, unsigned index, struct edge value)
{
    edge_store(node_edge(node, index), node_kind(node) == KIND_GC, value);
}

/* ---- Structures --------------------------------------------------------------------- */

/* flavour 0: malloc memory only; 1: gc_alloc memory only; else both, mixed */
static enum kind kind_of(unsigned flavour)
{
    return flavour == 0 ? KIND_MALLOC : flavour == 1 ? KIND_GC : random_below(2) != 0;
}

static struct edge build_blob(void)
{
    size_t words = random_below(16) == 0 ? random_below(3000) : random_below(20);

    return edge_to(node_make(KIND_BLOB, 0, 0, words));
}

static struct edge build_list(unsigned flavour, unsigned length)
{
    struct edge head = random_below(4) == 0 ? build_blob() : no_edge;

    for (unsigned i = 0; i < length; i++) {
        struct node *node = node_make(kind_of(flavour), 0, 1 + random_below(3), 1);
        node_link(node, 0, head);
        head = edge_to(node);
    }
    return head;
}

static struct edge build_tree(unsigned flavour, unsigned depth)
{
    struct node *node = node_make(kind_of(flavour), 0, 2 + random_below(3), 1);

    for (unsigned i = 0; depth > 0 && i < 2; i++)
        if (random_below(8) != 0)
            node_link(node, i, build_tree(flavour, depth - 1));
    return edge_to(node);
}

/* A chain, which owns the nodes, with one more edge each to any node of it. */
static struct edge build_graph(unsigned flavour)
{
    struct node *members[MAX_MEMBERS];
    unsigned count = 2 + random_below(MAX_MEMBERS - 2);

    for (unsigned i = 0; i < count; i++) {
        unsigned flags = CROSSED | (i + 1 < count ? MEMBER : 0);
        members[i] = node_make(kind_of(flavour), flags, 2 + random_below(3), 1);
        if (i > 0)
            node_link(members[i], 0, edge_to(members[i - 1]));
    }
    for (unsigned i = 0; i < count; i++)
        node_link(members[i], node_used(members[i]) - 1, edge_to(members[random_below(count)]));
    return edge_to(members[count - 1]);
}

/* One large node with short lists, like a hash table; now and then up to huge_bytes large. */
static struct edge build_table(unsigned flavour)
{
    unsigned used = 8 + random_below(MAX_USED - 8);
    size_t stride = 1 + random_below(8);

    if (random_below(64) == 0)
        stride = random_below((uint32_t)(huge_bytes / sizeof(struct edge) / used)) + 1;
    struct node *node = node_make(kind_of(flavour), 0, used, stride);

    for (unsigned i = 0; i < used; i++)
        if (random_below(2) == 0)
            node_link(node, i, build_list(flavour, random_below(3)));
    return edge_to(node);
}

static struct edge build(void)
{
    unsigned flavour = random_below(4);

    tally.builds++;
    switch (random_below(8)) {
    case 0:
        return build_blob();
    case 1:
    case 2:
        return build_tree(flavour, random_below(5));
    case 3:
        return build_graph(flavour);
    case 4:
        return build_table(flavour);
    default:
        return build_list(flavour, 1 + random_below(40));
    }
}

/* Checks all nodes that the edge owns, and counts them. */
static void verify(const struct edge *edge, const char *holder, struct census *census)
{
    struct node *node = edge->to;

    if (node == NULL)
        return;
    node_check(edge, holder);
    unsigned owned = node_owned(node);
    const char *self = node_kind(node) == KIND_MALLOC ? "a malloc block" : "a gc_alloc object";

    census->nodes++;
    *(node_kind(node) == KIND_MALLOC ? &census->malloc_bytes : &census->gc_bytes) += gc_size(node);
    if (node->shape & CROSSED)
        node_check(node_edge(node, owned), self);
    for (unsigned i = 0; i < owned; i++)
        verify(node_edge(node, i), self, census);
}

static void node_free(struct node *node)
{
    if (node_kind(node) == KIND_MALLOC && random_below(2) == 0)
        free(node);
    else
        gc_free(node);
}

/* Frees all nodes, or those of malloc memory only. */
static void free_all(struct node *node, bool malloc_only)
{
    for (unsigned i = 0; i < node_owned(node); i++)
        if (node_edge(node, i)->to != NULL)
            free_all(node_edge(node, i)->to, malloc_only);
    if (node_kind(node) == KIND_MALLOC || !malloc_only)
        node_free(node);
}

#endif
