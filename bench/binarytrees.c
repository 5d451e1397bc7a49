/*
 * binarytrees -- what does a program cost that makes trees and throws them away?
 *
 * The binary-trees program of the Computer Language Benchmarks Game: one tree lives throughout,
 * while many complete trees of depth 4 to N are built, counted and dropped. With malloc every
 * node is freed; with a collector nothing is. N is 16 (option --scale: the work per depth).
 * trees_1thr, trees_2thr: ms of wall time; the trees of each depth are shared among the threads.
 * trees_1thr_cpu, trees_2thr_cpu: ms of processor time, the collector's threads included.
 * trees_1thr_cycles, trees_2thr_cycles: collections meanwhile.
 */
#include "gcheap.h"
#include "harness.h"

enum { DEPTH_MIN = 4, DEPTH_MAX = 16, MOST_THREADS = 2 };

struct node {
    struct node *left, *right;
};

struct share {
    unsigned depth;
    unsigned trees;
    uint64_t nodes; /* counted by the thread, read after the join */
};

/* Lives throughout; static, so that it is a root of its own. */
static struct node *long_lived;

static struct node *tree_make(unsigned depth)
{
    struct node *node = HEAP_NEW(sizeof *node);
    if (node == NULL)
        harness_die("out of memory");
    HEAP_STORE(&node->left, depth == 0 ? NULL : tree_make(depth - 1));
    HEAP_STORE(&node->right, depth == 0 ? NULL : tree_make(depth - 1));
    return node;
}

static uint64_t tree_count(const struct node *node)
{
    return node->left == NULL ? 1 : 1 + tree_count(node->left) + tree_count(node->right);
}

static void tree_drop(struct node *node)
{
    if (HEAP_COLLECTS)
        return;
    if (node->left != NULL) {
        tree_drop(node->left);
        tree_drop(node->right);
    }
    HEAP_DROP(node);
}

static void *share_run(void *argument)
{
    struct share *share = argument;
    for (unsigned i = 0; i < share->trees; i++) {
        struct node *tree = tree_make(share->depth);
        share->nodes += tree_count(tree);
        tree_drop(tree);
    }
    return NULL;
}

/* Builds and drops the trees of one depth; dies if a node went missing. */
static void depth_run(unsigned depth, unsigned trees, unsigned threads)
{
    struct share shares[MOST_THREADS];
    pthread_t others[MOST_THREADS];
    uint64_t nodes = 0, expected = 0;
    for (unsigned t = 0; t < threads; t++) {
        shares[t] = (struct share){depth, trees / threads + (t < trees % threads), 0};
        expected += shares[t].trees * ((UINT64_C(2) << depth) - 1);
    }
    for (unsigned t = 1; t < threads; t++)
        if (pthread_create(&others[t], NULL, share_run, &shares[t]) != 0)
            harness_die("pthread_create failed");
    share_run(&shares[0]);
    for (unsigned t = 1; t < threads; t++)
        pthread_join(others[t], NULL);
    for (unsigned t = 0; t < threads; t++)
        nodes += shares[t].nodes;
    if (nodes != expected)
        harness_die("binarytrees: a tree has lost nodes");
}

static void trees_run(unsigned threads, const char *wall_name, const char *cpu_name,
                      const char *cycles_name)
{
    if (!harness_wants(wall_name))
        return;
    uint64_t start_cycles = heap_cycles();
    uint64_t start_ns = harness_now_ns(), start_cpu_ns = harness_cpu_ns();
    tree_drop(tree_make(DEPTH_MAX + 1));
    long_lived = tree_make(DEPTH_MAX);
    for (unsigned depth = DEPTH_MIN; depth <= DEPTH_MAX; depth += 2)
        depth_run(depth, (unsigned)harness_scaled(1u << (DEPTH_MAX - depth + DEPTH_MIN)), threads);
    if (tree_count(long_lived) != (2u << DEPTH_MAX) - 1)
        harness_die("binarytrees: the long-lived tree has lost nodes");
    tree_drop(long_lived);
    long_lived = NULL;
    harness_report(wall_name, "ms", (double)(harness_now_ns() - start_ns) / 1e6);
    harness_report(cpu_name, "ms", (double)(harness_cpu_ns() - start_cpu_ns) / 1e6);
    if (HEAP_COLLECTS)
        harness_report(cycles_name, "cycles", (double)(heap_cycles() - start_cycles));
}

int main(int argc, char **argv)
{
    HEAP_INIT();
    harness_start(argc, argv);
    trees_run(1, "trees_1thr", "trees_1thr_cpu", "trees_1thr_cycles");
    trees_run(2, "trees_2thr", "trees_2thr_cpu", "trees_2thr_cycles");
    harness_finish();
    return 0;
}
