/*
 * gcbench -- what does Boehm's classic collector benchmark cost?
 *
 * The program known as GCBench (Ellis, Kovac, Boehm), written anew: a complete tree of depth 18 is
 * made and dropped to stretch the heap; a tree of depth 16 and an array of 500,000 doubles live to
 * the end; meanwhile trees of depth 4 to 16 are made and dropped, as many nodes of each depth, half
 * of them from the root down (old nodes get pointers to young ones), half from the leaves up.
 * gcbench: ms of wall time; gcbench_cpu: ms of processor time, the collector's threads included;
 * gcbench_cycles: collections meanwhile. Option --scale: the number of trees.
 */
#include "gcheap.h"
#include "harness.h"

enum {
    STRETCH_DEPTH = 18,
    LONG_LIVED_DEPTH = 16,
    ARRAY_LENGTH = 500000,
    DEPTH_MIN = 4,
    DEPTH_MAX = 16,
};

struct node {
    struct node *left, *right;
    int32_t i, j;
};

/* Both live to the end; static, so that they are roots of their own. */
static struct node *long_lived;
static double *array;

static struct node *node_new(struct node *left, struct node *right)
{
    struct node *node = HEAP_NEW(sizeof *node);
    if (node == NULL)
        harness_die("out of memory");
    node->left = node->right = NULL;
    node->i = node->j = 0;
    HEAP_STORE(&node->left, left);
    HEAP_STORE(&node->right, right);
    return node;
}

static uint64_t tree_size(unsigned depth)
{
    return (UINT64_C(2) << depth) - 1;
}

/* From the root down. */
static void tree_populate(struct node *node, unsigned depth)
{
    if (depth == 0)
        return;
    HEAP_STORE(&node->left, node_new(NULL, NULL));
    HEAP_STORE(&node->right, node_new(NULL, NULL));
    tree_populate(node->left, depth - 1);
    tree_populate(node->right, depth - 1);
}

/* From the leaves up. */
static struct node *tree_make(unsigned depth)
{
    if (depth == 0)
        return node_new(NULL, NULL);
    struct node *left = tree_make(depth - 1);
    return node_new(left, tree_make(depth - 1));
}

static uint64_t tree_count(const struct node *node)
{
    return node == NULL ? 0 : 1 + tree_count(node->left) + tree_count(node->right);
}

static void tree_drop(struct node *node)
{
    if (HEAP_COLLECTS || node == NULL)
        return;
    tree_drop(node->left);
    tree_drop(node->right);
    HEAP_DROP(node);
}

static void depth_run(unsigned depth)
{
    uint64_t trees = harness_scaled(2 * tree_size(STRETCH_DEPTH) / tree_size(depth));
    for (uint64_t i = 0; i < trees; i++) {
        struct node *tree = node_new(NULL, NULL);
        tree_populate(tree, depth);
        tree_drop(tree);
    }
    for (uint64_t i = 0; i < trees; i++)
        tree_drop(tree_make(depth));
}

static void long_lived_make(void)
{
    long_lived = node_new(NULL, NULL);
    tree_populate(long_lived, LONG_LIVED_DEPTH);
    array = HEAP_NEW_BYTES(ARRAY_LENGTH * sizeof *array);
    if (array == NULL)
        harness_die("out of memory");
    for (unsigned i = 0; i < ARRAY_LENGTH; i++)
        array[i] = 1.0 / (i + 1);
}

static void long_lived_check(void)
{
    if (tree_count(long_lived) != tree_size(LONG_LIVED_DEPTH))
        harness_die("gcbench: the long-lived tree has lost nodes");
    for (unsigned i = 0; i < ARRAY_LENGTH; i++)
        if (array[i] != 1.0 / (i + 1))
            harness_die("gcbench: the array has changed");
    tree_drop(long_lived);
    HEAP_DROP(array);
}

int main(int argc, char **argv)
{
    HEAP_INIT();
    harness_start(argc, argv);
    uint64_t start_cycles = heap_cycles();
    uint64_t start_ns = harness_now_ns(), start_cpu_ns = harness_cpu_ns();
    tree_drop(tree_make(STRETCH_DEPTH));
    long_lived_make();
    for (unsigned depth = DEPTH_MIN; depth <= DEPTH_MAX; depth += 2)
        depth_run(depth);
    long_lived_check();
    harness_report("gcbench", "ms", (double)(harness_now_ns() - start_ns) / 1e6);
    harness_report("gcbench_cpu", "ms", (double)(harness_cpu_ns() - start_cpu_ns) / 1e6);
    if (HEAP_COLLECTS)
        harness_report("gcbench_cycles", "cycles", (double)(heap_cycles() - start_cycles));
    harness_finish();
    return 0;
}
