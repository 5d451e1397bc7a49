/*
 * gcchurn -- what do short-lived structures cost beside a live set, in one thread and in two?
 *
 * Each thread has a table of 16,384 lists (some 30 MiB). One operation makes a list of 4 to 19
 * nodes, each with a buffer of 16 to 255 bytes (sizes log-uniform), looks through it and drops it.
 * Every fourth operation puts its list into the table and drops a random one from there instead;
 * every fourth makes and drops a tree of 31 nodes without buffers.
 * churn_1thr, churn_2thr: ms of wall time for 400,000 operations per thread, the building of the
 * table included; _cpu: ms of processor time; _cycles: collections meanwhile.
 * Every dropped structure is counted first: a node lost by a collector ends the program.
 */
#include "gcheap.h"
#include "harness.h"

#include <string.h>

enum { TABLE_LISTS = 1 << 14, OPERATIONS = 400000, LIST_MIN = 4, TREE_DEPTH = 5, MOST_THREADS = 2 };

struct node {
    struct node *left, *right; /* right: the next node of a list */
    unsigned char *buffer;
    uint32_t nodes; /* in a list: this one and those after it */
    uint32_t buffer_bytes;
};

struct worker {
    HARNESS_APART struct node **table;
    uint64_t random;
    uint64_t operations;
};

/* Static, so that the tables are reachable. */
static struct worker workers[MOST_THREADS];

static struct node *node_new(void)
{
    struct node *node = HEAP_NEW(sizeof *node);
    if (node == NULL)
        harness_die("out of memory");
    memset(node, 0, sizeof *node);
    return node;
}

static struct node *list_make(struct worker *worker)
{
    unsigned count = LIST_MIN + harness_random_below(&worker->random, 16);
    struct node *head = NULL;
    for (unsigned i = 1; i <= count; i++) {
        struct node *node = node_new();
        node->nodes = i;
        node->buffer_bytes = (uint32_t)harness_random_size(&worker->random, 16, 256);
        HEAP_STORE(&node->buffer, harness_use(HEAP_NEW_BYTES(node->buffer_bytes)));
        memset(node->buffer, (int)(i & 0xff), node->buffer_bytes);
        HEAP_STORE(&node->right, head);
        head = node;
    }
    return head;
}

static void list_drop(struct node *node)
{
    for (uint32_t left = node->nodes; left > 0; left--) {
        if (node == NULL || node->nodes != left)
            harness_die("gcchurn: a list has lost nodes");
        if (node->buffer[0] != left || node->buffer[node->buffer_bytes - 1] != left)
            harness_die("gcchurn: a buffer has changed");
        struct node *next = node->right;
        HEAP_DROP(node->buffer);
        HEAP_DROP(node);
        node = next;
    }
}

static struct node *tree_make(unsigned depth)
{
    struct node *node = node_new();
    if (depth > 1) {
        HEAP_STORE(&node->left, tree_make(depth - 1));
        HEAP_STORE(&node->right, tree_make(depth - 1));
    }
    return node;
}

static unsigned tree_drop(struct node *node)
{
    if (node == NULL)
        return 0;
    unsigned count = 1 + tree_drop(node->left) + tree_drop(node->right);
    HEAP_DROP(node);
    return count;
}

static void operation_run(struct worker *worker, uint64_t number)
{
    if (number % 4 == 3) {
        if (tree_drop(tree_make(TREE_DEPTH)) != (1u << TREE_DEPTH) - 1)
            harness_die("gcchurn: a tree has lost nodes");
        return;
    }
    struct node *list = list_make(worker);
    if (number % 4 == 0) {
        struct node **slot = &worker->table[harness_random_below(&worker->random, TABLE_LISTS)];
        struct node *old = *slot;
        HEAP_STORE(slot, list);
        list = old;
    }
    list_drop(list);
}

static void *worker_run(void *argument)
{
    struct worker *worker = argument;
    worker->table = HEAP_NEW(TABLE_LISTS * sizeof *worker->table);
    if (worker->table == NULL)
        harness_die("out of memory");
    memset(worker->table, 0, TABLE_LISTS * sizeof *worker->table);
    for (unsigned i = 0; i < TABLE_LISTS; i++)
        HEAP_STORE(&worker->table[i], list_make(worker));
    for (uint64_t i = 0; i < worker->operations; i++)
        operation_run(worker, i);
    for (unsigned i = 0; i < TABLE_LISTS; i++)
        list_drop(worker->table[i]);
    HEAP_DROP(worker->table);
    worker->table = NULL;
    return NULL;
}

static void churn_run(unsigned threads, const char *wall_name, const char *cpu_name,
                      const char *cycles_name)
{
    pthread_t others[MOST_THREADS];
    if (!harness_wants(wall_name))
        return;
    uint64_t start_cycles = heap_cycles();
    uint64_t start_ns = harness_now_ns(), start_cpu_ns = harness_cpu_ns();
    for (unsigned t = 0; t < threads; t++) {
        workers[t].random = 88172645463325252 + t * UINT64_C(0x9e3779b97f4a7c15);
        workers[t].operations = harness_scaled(OPERATIONS);
    }
    for (unsigned t = 1; t < threads; t++)
        if (pthread_create(&others[t], NULL, worker_run, &workers[t]) != 0)
            harness_die("pthread_create failed");
    worker_run(&workers[0]);
    for (unsigned t = 1; t < threads; t++)
        pthread_join(others[t], NULL);
    harness_report(wall_name, "ms", (double)(harness_now_ns() - start_ns) / 1e6);
    harness_report(cpu_name, "ms", (double)(harness_cpu_ns() - start_cpu_ns) / 1e6);
    if (HEAP_COLLECTS)
        harness_report(cycles_name, "cycles", (double)(heap_cycles() - start_cycles));
}

int main(int argc, char **argv)
{
    HEAP_INIT();
    harness_start(argc, argv);
    churn_run(1, "churn_1thr", "churn_1thr_cpu", "churn_1thr_cycles");
    churn_run(2, "churn_2thr", "churn_2thr_cpu", "churn_2thr_cycles");
    harness_finish();
    return 0;
}
