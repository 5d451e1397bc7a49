/*
 * markrate -- how fast does a collector get through live objects?
 *
 * A complete binary tree of 2^21 nodes of 64 bytes (128 MiB), reachable from one static pointer.
 * "ordered": nodes lie in memory in the order of a depth-first walk; the hardware's prefetching
 * helps. "random": the same tree, its nodes at random places; every step is a cache miss.
 * mark_LAYOUT_live: MiB of nodes (--scale=4 makes it 512).
 * mark_LAYOUT_ms: wall time of one full collection with nothing to reclaim (the median of five).
 * mark_LAYOUT_rate: live objects per second of wall time; mark_LAYOUT_core: per second of
 * processor time, so that collectors with different numbers of marker threads can be compared.
 * mark_LAYOUT_stop: ms for which the last collection stopped the program, where the heap says so.
 * mark_LAYOUT_bytes, mark_LAYOUT_core_bytes: MiB of live nodes per second, of wall and of processor
 * time.
 * The malloc version has no collector: it walks the tree depth first by recursion and counts the
 * nodes. That is what the memory gives a plain program that keeps no marks; it is not a limit.
 * It also says what the machine's memory allows on the same nodes, laid out the same, one thread:
 * mark_LAYOUT_chase: nodes per second when each one's address is read from the one before it, in
 * the order of the walk; mark_LAYOUT_chase16: along sixteen such chains at once.
 */
#include "gcheap.h"
#include "harness.h"

enum { COLLECTIONS = 5, NODE_BYTES = 64, DEPTH = 21, CHAINS = 16 };

struct node {
    struct node *left, *right;
    uint64_t payload[NODE_BYTES / 8 - 2]; /* small integers: nothing that looks like a pointer */
};

/* The only root of the tree; static, so that every collector sees it. */
static struct node *root;

/* The nodes in the order in which they are to be met; a heap block, cleared before measuring. */
struct node_supply {
    struct node **nodes;
    uint64_t next;
};

static struct node *node_new(uint64_t number)
{
    struct node *node = HEAP_NEW(sizeof *node);
    if (node == NULL)
        harness_die("out of memory");
    node->left = node->right = NULL;
    for (unsigned i = 0; i < NODE_BYTES / 8 - 2; i++)
        node->payload[i] = number & 1023;
    return node;
}

/* tree_link -- a complete tree of 2^depth - 1 nodes, taken from the supply in walk order. */
static struct node *tree_link(struct node_supply *supply, unsigned depth)
{
    struct node *node = supply->nodes[supply->next++];
    if (depth > 1) {
        HEAP_STORE(&node->left, tree_link(supply, depth - 1));
        HEAP_STORE(&node->right, tree_link(supply, depth - 1));
    }
    return node;
}

static void supply_shuffle(struct node_supply *supply, uint64_t count)
{
    uint64_t random = 88172645463325252;
    for (uint64_t i = count - 1; i > 0; i--) {
        uint64_t j = harness_random_below(&random, (uint32_t)i + 1);
        struct node *swapped = supply->nodes[i];
        HEAP_STORE(&supply->nodes[i], supply->nodes[j]);
        HEAP_STORE(&supply->nodes[j], swapped);
    }
}

/* tree_build -- allocates all nodes first, then links them in order or in shuffled order. */
static void tree_build(unsigned depth, bool is_random)
{
    uint64_t count = (UINT64_C(1) << depth) - 1;
    struct node_supply supply = {HEAP_NEW(count * sizeof(struct node *)), 0};
    if (supply.nodes == NULL)
        harness_die("out of memory");
    for (uint64_t i = 0; i < count; i++)
        supply.nodes[i] = NULL;
    for (uint64_t i = 0; i < count; i++)
        HEAP_STORE(&supply.nodes[i], node_new(i));
    if (is_random)
        supply_shuffle(&supply, count);
    root = tree_link(&supply, depth);
    /* Or the table would be a second way to every node, in address order. */
    for (uint64_t i = 0; i < count; i++)
        HEAP_STORE(&supply.nodes[i], NULL);
    HEAP_DROP(supply.nodes);
}

static uint64_t tree_walk(const struct node *node)
{
    return node == NULL ? 0 : 1 + tree_walk(node->left) + tree_walk(node->right);
}

static void tree_drop(struct node *node)
{
    if (HEAP_COLLECTS || node == NULL)
        return;
    tree_drop(node->left);
    tree_drop(node->right);
    HEAP_DROP(node);
}

/*
 * A collector that gave up, or that had nothing to do, would look very fast: each collection must
 * count as one, or the numbers are worth nothing.
 */
static void cycles_check(uint64_t cycles_before)
{
    if (HEAP_COLLECTS && heap_cycles() - cycles_before < COLLECTIONS)
        harness_die("markrate: fewer collections were completed than asked for");
}

struct sample {
    double wall_ns, cpu_ns;
};

static struct sample collection_time(uint64_t count)
{
    uint64_t start_ns = harness_now_ns(), start_cpu_ns = harness_cpu_ns();
    if (HEAP_COLLECTS)
        HEAP_COLLECT();
    else if (tree_walk(root) != count)
        harness_die("markrate: the tree has lost nodes");
    return (struct sample){(double)(harness_now_ns() - start_ns),
                           (double)(harness_cpu_ns() - start_cpu_ns)};
}

/* The median by wall time: five samples, an insertion sort. */
static struct sample collection_median(uint64_t count)
{
    struct sample samples[COLLECTIONS];
    for (int n = 0; n < COLLECTIONS; n++) {
        struct sample sample = collection_time(count);
        int at = n;
        for (; at > 0 && samples[at - 1].wall_ns > sample.wall_ns; at--)
            samples[at] = samples[at - 1];
        samples[at] = sample;
    }
    return samples[COLLECTIONS / 2];
}

/* The nodes in the order of the walk, from supply->next on. */
static void supply_refill(struct node_supply *supply, struct node *node)
{
    if (node == NULL)
        return;
    supply->nodes[supply->next++] = node;
    supply_refill(supply, node->left);
    supply_refill(supply, node->right);
}

/*
 * chase_time -- ns for one step to each of count nodes along `chains` chains at once. Inlined with
 * a constant, so that the places are in registers.
 */
static inline __attribute__((always_inline)) double chase_time(struct node **nodes, uint64_t count,
                                                               unsigned chains)
{
    struct node *at[CHAINS];
    uint64_t steps = count / chains;
    uint64_t start_ns = harness_now_ns();
    for (unsigned c = 0; c < chains; c++)
        at[c] = nodes[c * steps];
    for (uint64_t step = 0; step < steps; step++)
        for (unsigned c = 0; c < chains; c++)
            at[c] = (struct node *)(uintptr_t)at[c]->payload[0];
    for (unsigned c = 0; c < chains; c++)
        if (at[c] != nodes[(c + 1) * steps % count])
            harness_die("markrate: a chain does not end where it should");
    return (double)(harness_now_ns() - start_ns) * (double)count / (double)(steps * chains);
}

/* The fastest of five: it is to be a limit. */
static void chase_run(uint64_t count, const char *one_name, const char *many_name)
{
    struct node_supply supply = {HEAP_NEW(count * sizeof(struct node *)), 0};
    if (supply.nodes == NULL)
        harness_die("out of memory");
    supply_refill(&supply, root);
    for (uint64_t i = 0; i < count; i++)
        supply.nodes[i]->payload[0] = (uintptr_t)supply.nodes[(i + 1) % count];
    double one_ns = 1e18, many_ns = 1e18;
    for (int n = 0; n < COLLECTIONS; n++) {
        double one = chase_time(supply.nodes, count, 1);
        double many = chase_time(supply.nodes, count, CHAINS);
        one_ns = one < one_ns ? one : one_ns;
        many_ns = many < many_ns ? many : many_ns;
    }
    harness_report(one_name, "Mobj/s", (double)count / one_ns * 1e3);
    harness_report(many_name, "Mobj/s", (double)count / many_ns * 1e3);
    HEAP_DROP(supply.nodes);
}

struct mark_names {
    const char *live, *ms, *rate, *core, *bytes, *core_bytes, *stop, *chase, *chase16;
};

static void mark_run(const struct mark_names *names, bool is_random)
{
    unsigned depth = 63 - (unsigned)__builtin_clzll(harness_scaled(UINT64_C(1) << DEPTH));
    uint64_t count = (UINT64_C(1) << depth) - 1;
    tree_build(depth, is_random);
    HEAP_COLLECT();
    HEAP_COLLECT(); /* whatever building left over is gone now: what follows only marks */
    uint64_t cycles_before = heap_cycles();
    struct sample sample = collection_median(count);
    cycles_check(cycles_before);
    double live_mib = (double)count * NODE_BYTES / (1024 * 1024);
    harness_report(names->live, "MiB-live", live_mib);
    harness_report(names->ms, "ms", sample.wall_ns / 1e6);
    harness_report(names->rate, "Mobj/s", (double)count / sample.wall_ns * 1e3);
    harness_report(names->core, "Mobj/s", (double)count / sample.cpu_ns * 1e3);
    harness_report(names->bytes, "MiB/s", live_mib / (sample.wall_ns / 1e9));
    harness_report(names->core_bytes, "MiB/s", live_mib / (sample.cpu_ns / 1e9));
    if (heap_last_stop_ns() != 0)
        harness_report(names->stop, "ms", (double)heap_last_stop_ns() / 1e6);
    if (tree_walk(root) != count)
        harness_die("markrate: the tree has lost nodes");
    if (!HEAP_COLLECTS)
        chase_run(count, names->chase, names->chase16);
    tree_drop(root);
    root = NULL;
}

int main(int argc, char **argv)
{
    static const struct mark_names ordered = {
        .live = "mark_ordered_live", .ms = "mark_ordered_ms", .rate = "mark_ordered_rate",
        .core = "mark_ordered_core", .bytes = "mark_ordered_bytes",
        .core_bytes = "mark_ordered_core_bytes", .stop = "mark_ordered_stop",
        .chase = "mark_ordered_chase", .chase16 = "mark_ordered_chase16"};
    static const struct mark_names random = {
        .live = "mark_random_live", .ms = "mark_random_ms", .rate = "mark_random_rate",
        .core = "mark_random_core", .bytes = "mark_random_bytes",
        .core_bytes = "mark_random_core_bytes", .stop = "mark_random_stop",
        .chase = "mark_random_chase", .chase16 = "mark_random_chase16"};
    HEAP_INIT();
    harness_start(argc, argv);
    if (harness_wants("mark_ordered"))
        mark_run(&ordered, false);
    if (harness_wants("mark_random"))
        mark_run(&random, true);
    harness_finish();
    return 0;
}
