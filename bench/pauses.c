/*
 * pauses -- what does a thread of the program feel while a collector works?
 *
 * A table of small trees (15 nodes of 64 bytes each) makes up the live heap. Writer threads, each
 * with its own share of the trees, do one operation after the other as fast as they can:
 *   of 16 operations, 11 exchange the children of a random node, 2 exchange subtrees of two random
 *   trees, 2 replace a random node by a new one, 1 makes a buffer of 4,000 bytes and forgets its
 *   predecessor.
 * Every operation is timed, from the end of the one before it: nothing falls between two. The
 * clock is clock_gettime (about 25 ns, part of every figure); the histogram is static memory.
 *
 * Usage: pauses LIVE_MIB SECONDS WRITERS. Output: "hist LOW_NS COUNT" per bucket (a sixteenth of a
 * power of two wide), "stop NS" for each stop of libgc (ours and Go's are in their gctrace lines on
 * stderr, between the lines "# measure begin" and "# measure end"), and the usual result lines.
 * With BENCH_COLLECT_MS in the environment one more thread asks for a collection so often.
 */
#include "gcheap.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TREE_DEPTH = 4,
    TREE_NODES = (1 << TREE_DEPTH) - 1,
    BUFFER_BYTES = 4000,
    MOST_WRITERS = 64,
    SUB_BUCKETS = 16,
    BUCKETS = 44 * SUB_BUCKETS,
    MOST_STOPS = 1 << 18,
    WARM_UP_MS = 500,
};

struct node {
    struct node *child[2];
    uint64_t payload[6]; /* small integers: nothing that looks like a pointer */
};

struct writer {
    uint64_t tree_first, tree_count; /* its trees: no other writer touches them */
    uint64_t random;
    uint64_t deadline_ns;
    uint64_t operations, longest_ns;
    uint64_t histogram[BUCKETS];
};

/* The live heap: the only root. */
static struct node **forest;
static uint64_t forest_trees;
/* What each writer made last: static, so that no compiler can leave the allocation out. */
static void *last_buffer[MOST_WRITERS];
static struct writer writers[MOST_WRITERS];

#if defined(BENCH_HEAP_LIBGC)
/* Written by libgc's callback under its lock, read after the writers have ended. */
static uint64_t stops_ns[MOST_STOPS], stop_count, stop_start_ns;

static void stop_record(GC_EventType event)
{
    if (event == GC_EVENT_PRE_STOP_WORLD)
        stop_start_ns = harness_now_ns();
    if (event == GC_EVENT_POST_START_WORLD && stop_count < MOST_STOPS)
        stops_ns[stop_count++] = harness_now_ns() - stop_start_ns;
}

static void stops_start(void)
{
    stop_count = 0;
    GC_set_on_collection_event(stop_record);
}

static void stops_print(void)
{
    GC_set_on_collection_event(NULL);
    for (uint64_t i = 0; i < stop_count; i++)
        printf("stop %lu\n", (unsigned long)stops_ns[i]);
}
#else
static void stops_start(void)
{
}

static void stops_print(void)
{
}
#endif

/* Buckets 0 to 31 are one ns wide; from there on sixteen to each power of two. */
static unsigned bucket_of(uint64_t ns)
{
    if (ns < 2 * SUB_BUCKETS)
        return (unsigned)ns;
    unsigned shift = 59 - (unsigned)__builtin_clzll(ns);
    unsigned bucket = shift * SUB_BUCKETS + (unsigned)(ns >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t bucket_low_ns(unsigned bucket)
{
    if (bucket < 2 * SUB_BUCKETS)
        return bucket;
    unsigned shift = bucket / SUB_BUCKETS - 1;
    return (uint64_t)(bucket % SUB_BUCKETS + SUB_BUCKETS) << shift;
}

static struct node *node_new(struct node *left, struct node *right)
{
    struct node *node = HEAP_NEW(sizeof *node);
    if (node == NULL)
        harness_die("out of memory");
    memset(node->payload, 0, sizeof node->payload);
    /* malloc's memory holds anything: the barrier must not be shown it as an old value. */
    node->child[0] = node->child[1] = NULL;
    HEAP_STORE(&node->child[0], left);
    HEAP_STORE(&node->child[1], right);
    return node;
}

static struct node *tree_make(unsigned depth)
{
    if (depth == 0)
        return NULL;
    struct node *left = tree_make(depth - 1);
    return node_new(left, tree_make(depth - 1));
}

static uint64_t tree_count(const struct node *node)
{
    return node == NULL ? 0 : 1 + tree_count(node->child[0]) + tree_count(node->child[1]);
}

/* A node of a random tree, `depth` levels below its root, by a random way down. */
static struct node *node_pick(struct writer *writer, unsigned depth)
{
    uint64_t random = harness_random(&writer->random);
    uint64_t tree = ((random >> 32) * writer->tree_count) >> 32;
    struct node *node = forest[writer->tree_first + tree];
    for (; depth > 0; depth--, random >>= 1)
        node = node->child[random & 1];
    return node;
}

static void children_exchange(struct node *node)
{
    struct node *left = node->child[0], *right = node->child[1];
    HEAP_STORE(&node->child[0], right);
    HEAP_STORE(&node->child[1], left);
}

/* Both nodes are at the same depth, so neither is below the other. They may be one node: then it
   exchanges its own children. */
static void subtrees_exchange(struct node *a, struct node *b)
{
    struct node *from_a = a->child[0], *from_b = b->child[1];
    HEAP_STORE(&a->child[0], from_b);
    HEAP_STORE(&b->child[1], from_a);
}

static void child_replace(struct node *parent, unsigned side)
{
    struct node *old = parent->child[side];
    struct node *new = node_new(old->child[0], old->child[1]);
    HEAP_STORE(&parent->child[side], new);
    HEAP_DROP(old);
}

static void buffer_replace(struct writer *writer)
{
    void **last = &last_buffer[writer - writers];
    HEAP_DROP(*last);
    *last = harness_use(HEAP_NEW_BYTES(BUFFER_BYTES));
}

static void operation_run(struct writer *writer, uint64_t number)
{
    unsigned depth = harness_random_below(&writer->random, TREE_DEPTH - 1);
    switch (number & 15) {
    case 3:
        buffer_replace(writer);
        break;
    case 7:
    case 15:
        child_replace(node_pick(writer, depth), number >> 4 & 1);
        break;
    case 1:
    case 9:
        subtrees_exchange(node_pick(writer, depth), node_pick(writer, depth));
        break;
    default:
        children_exchange(node_pick(writer, depth));
    }
}

static void *writer_run(void *argument)
{
    struct writer *writer = argument;
    uint64_t last_ns = harness_now_ns();
    while (last_ns < writer->deadline_ns) {
        operation_run(writer, writer->operations++);
        uint64_t now_ns = harness_now_ns(), took_ns = now_ns - last_ns;
        writer->histogram[bucket_of(took_ns)]++;
        if (took_ns > writer->longest_ns)
            writer->longest_ns = took_ns;
        last_ns = now_ns;
    }
    return NULL;
}

/* Until the writers' time is over. */
static void *collects_run(void *deadline_ns)
{
    const char *pause_ms = getenv("BENCH_COLLECT_MS");
    while (pause_ms != NULL && harness_now_ns() < *(const uint64_t *)deadline_ns) {
        usleep((useconds_t)strtoul(pause_ms, NULL, 10) * 1000);
        HEAP_COLLECT();
    }
    return NULL;
}

static void writers_run(unsigned count, uint64_t duration_ns)
{
    uint64_t deadline_ns = harness_now_ns() + duration_ns;
    pthread_t threads[MOST_WRITERS], collector;
    if (pthread_create(&collector, NULL, collects_run, &deadline_ns) != 0)
        harness_die("pthread_create failed");
    for (unsigned w = 0; w < count; w++) {
        struct writer *writer = &writers[w];
        memset(writer, 0, sizeof *writer);
        writer->tree_first = forest_trees * w / count;
        writer->tree_count = forest_trees * (w + 1) / count - writer->tree_first;
        writer->random = 88172645463325252 + w * UINT64_C(0x9e3779b97f4a7c15);
        writer->deadline_ns = deadline_ns;
        if (pthread_create(&threads[w], NULL, writer_run, writer) != 0)
            harness_die("pthread_create failed");
    }
    for (unsigned w = 0; w < count; w++)
        pthread_join(threads[w], NULL);
    pthread_join(collector, NULL);
}

static void marker_write(const char *line)
{
    if (write(2, line, strlen(line)) < 0)
        harness_die("cannot write to stderr");
}

static void results_report(unsigned count, double seconds)
{
    uint64_t operations = 0, longest_ns = 0;
    for (unsigned w = 0; w < count; w++) {
        operations += writers[w].operations;
        if (writers[w].longest_ns > longest_ns)
            longest_ns = writers[w].longest_ns;
    }
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < count; w++)
            sum += writers[w].histogram[bucket];
        if (sum != 0)
            printf("hist %lu %lu\n", (unsigned long)bucket_low_ns(bucket), (unsigned long)sum);
    }
    harness_report("op_longest", "ns", (double)longest_ns);
    harness_report("op_rate", "Mops/s", (double)operations / seconds / 1e6);
}

static void forest_make(uint64_t live_bytes)
{
    forest_trees = live_bytes / (TREE_NODES * sizeof(struct node));
    forest = HEAP_NEW(forest_trees * sizeof *forest);
    if (forest == NULL)
        harness_die("out of memory");
    memset(forest, 0, forest_trees * sizeof *forest);
    for (uint64_t i = 0; i < forest_trees; i++)
        HEAP_STORE(&forest[i], tree_make(TREE_DEPTH));
}

static void forest_check(void)
{
    for (uint64_t i = 0; i < forest_trees; i++)
        if (tree_count(forest[i]) != TREE_NODES)
            harness_die("pauses: a tree has lost nodes");
}

int main(int argc, char **argv)
{
    if (argc != 4)
        harness_die("usage: pauses LIVE_MIB SECONDS WRITERS");
    uint64_t live_bytes = strtoull(argv[1], NULL, 10) << 20;
    double seconds = strtod(argv[2], NULL);
    unsigned count = (unsigned)strtoul(argv[3], NULL, 10);
    if (live_bytes == 0 || seconds <= 0 || count == 0 || count > MOST_WRITERS)
        harness_die("pauses: an argument is out of range");
    HEAP_INIT();
    harness_start(1, argv);
    forest_make(live_bytes);
    writers_run(count, WARM_UP_MS * UINT64_C(1000000));
    uint64_t cycles_before = heap_cycles(), stops_before_ns = heap_stops_ns();
    stops_start();
    marker_write("# measure begin\n");
    writers_run(count, (uint64_t)(seconds * 1e9));
    marker_write("# measure end\n");
    stops_print();
    results_report(count, seconds);
    if (HEAP_COLLECTS)
        harness_report("cycles", "cycles", (double)(heap_cycles() - cycles_before));
    if (heap_stops_ns() != 0)
        harness_report("stops_total", "ms", (double)(heap_stops_ns() - stops_before_ns) / 1e6);
    forest_check();
    harness_finish();
    return 0;
}
