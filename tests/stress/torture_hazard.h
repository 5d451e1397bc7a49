/* torture_hazard.h -- what goes on beside the workers: libraries that come and go, signals,
 * threads that live for one errand
 *
 * PURPOSE   Roots appear and vanish while cycles run, threads end while they hold structures, and
 *           a signal handler moves pointers between any two instructions of a worker.
 * LOCKING   The plugin's slots belong to the plugin thread.  What a handler juggles belongs to the
 *           thread it interrupts, which looks at it with the signal blocked.
 */
#ifndef TORTURE_HAZARD_H
#define TORTURE_HAZARD_H

#include "torture_place.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

enum handlers { HANDLERS_NONE, HANDLERS_PLAIN, HANDLERS_BARRIER };

static atomic_bool stopping;
static atomic_ulong errands_done, errands_alive, dlopens, signals_taken, all_leaked_malloc,
    all_leaked_gc, all_steps, all_moves, all_builds, all_checked;
static enum handlers handlers = HANDLERS_BARRIER;       /* constant once threads run */

/* Every thread that has used `tally` calls it at its end. */
static void tally_flush(void)
{
    all_steps += tally.steps;
    all_moves += tally.moves;
    all_builds += tally.builds;
    all_checked += tally.checked;
    all_leaked_malloc += tally.leaked_malloc;
    all_leaked_gc += tally.leaked_gc;
    tally = (struct tally){ 0 };
}

/* ---- Signals ------------------------------------------------------------------------ */

/* A structure that the handler moves between a malloc block and a gc_alloc object. */
struct juggle {
    struct node *malloc_node, *gc_node;
};

static __thread struct juggle juggle;

static void on_signal(int signal)
{
    struct node *left = juggle.malloc_node, *right = juggle.gc_node;
    bool barrier = handlers == HANDLERS_BARRIER;

    (void)signal;
    if (left == NULL || right == NULL)
        return;                 /* not a worker, or one that is about to end */
    struct node *from = node_edge(left, 0)->to != NULL ? left : right;
    struct node *to = from == left ? right : left;
    struct edge value = *node_edge(from, 0);

    if (barrier && from == right)
        GC_WRITE(&node_edge(from, 0)->to, NULL);
    else
        node_edge(from, 0)->to = NULL;
    __asm__ volatile("" : "+r"(value.to) : : "memory");
    node_edge(to, 0)->id = value.id;
    if (barrier && to == right)
        GC_WRITE(&node_edge(to, 0)->to, value.to);
    else
        node_edge(to, 0)->to = value.to;
    signals_taken++;
}

static void signals_block(bool block)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static void signals_start(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    struct itimerval often = { { 0, 700 }, { 0, 700 } };

    if (handlers == HANDLERS_NONE)
        return;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

/* What the handler would put into a gc_alloc object without the barrier must not be one. */
static void juggle_start(void)
{
    enum kind right = handlers == HANDLERS_BARRIER ? KIND_GC : KIND_MALLOC;

    signals_block(true);
    juggle.malloc_node = node_make(KIND_MALLOC, 0, 1, 1);
    juggle.gc_node = node_make(right, 0, 1, 1);
    node_link(juggle.malloc_node, 0, build());
    signals_block(false);
}

/* Checks what is juggled, and replaces it, for good when stop is true. */
static void juggle_renew(bool stop)
{
    struct node *nodes[2] = { juggle.malloc_node, juggle.gc_node };

    signals_block(true);
    for (int i = 0; i < 2; i++)
        drop((struct place){ node_edge(nodes[i], 0), node_kind(nodes[i]) == KIND_GC, "juggling" });
    if (stop) {
        juggle = (struct juggle){ NULL, NULL };
        let_go(edge_to(nodes[0]));
        let_go(edge_to(nodes[1]));
    } else {
        node_link(nodes[random_below(2)], 0, build());
    }
    signals_block(false);
}

/* ---- Errands ------------------------------------------------------------------------ */

/* A structure handed to a thread by nothing but the argument of pthread_create. */
struct errand {
    struct edge edge;
    bool joined;
};

static __thread struct edge errand_edge;

/* Keeps the structure in a thread-local, plays with it, and passes it on: as result, or by mail. */
static void *errand_run(void *argument)
{
    struct errand *errand = argument;
    bool joined = errand->joined;
    struct census census = { 0, 0, 0 };
    struct place place = { &errand_edge, false, NULL };

    random_seed(errand->edge.id);
    errand_edge = errand->edge;
    errand->edge = no_edge;
    for (int i = 0; i < 50; i++)
        disturb();
    verify(&errand_edge, "an errand's thread-local", &census);
    struct place inside = pick_inside(place, true);
    if (inside.edge != NULL)
        place_store(inside, build_list(random_below(3), 3));
    if (joined) {
        errand->edge = errand_edge;
    } else {
        let_go(mail_exchange(errand_edge));
        free(errand);
        errand = NULL;
    }
    errand_edge = no_edge;
    tally_flush();
    errands_done++;
    errands_alive--;
    return errand;
}

/* true: the structure has gone with the thread; false: there was no thread to be had. */
static bool errand_start(struct edge edge, bool joined, pthread_t *thread)
{
    struct errand *errand = block_make(KIND_MALLOC, sizeof *errand);
    int error;

    *errand = (struct errand){ edge, joined };
    errands_alive++;
    error = pthread_create(thread, NULL, errand_run, errand);
    if (error != 0) {
        errands_alive--;
        free(errand);
        return false;
    }
    if (!joined)
        pthread_detach(*thread);
    return true;
}

static struct edge errand_join(pthread_t thread)
{
    void *result;

    if (pthread_join(thread, &result) != 0)
        abort();
    struct errand *errand = result;
    struct edge edge = errand->edge;

    free(errand);
    return edge;
}

/* ---- Libraries ---------------------------------------------------------------------- */

enum { PLUGIN_WORDS = 16384 };

static char plugin_path[64];

static void plugin_remove(void)
{
    char *slash = strrchr(plugin_path, '/');

    if (slash == NULL)
        return;
    unlink(plugin_path);
    *slash = '\0';
    rmdir(plugin_path);
}

/* Makes a library with 128 KiB of bss and 8 KiB of data; without a compiler there is none. */
static void plugin_make(void)
{
    char directory[] = "/tmp/torture.XXXXXX", command[400];

    if (mkdtemp(directory) == NULL)
        abort();
    snprintf(plugin_path, sizeof plugin_path, "%s/plugin.so", directory);
    snprintf(command, sizeof command,
             "echo 'void *plugin_bss[%d]; void *plugin_data[1024] = { (void *)1 };' |"
             " ${CC:-cc} -shared -fPIC -x c -o %s -", PLUGIN_WORDS, plugin_path);
    if (system(command) != 0) {
        puts("SKIP torture plugin: no C compiler");
        plugin_remove();
        plugin_path[0] = '\0';
    }
}

/* Structures that only a library's own data hold, until just before it goes. */
static void plugin_visit(void)
{
    void *library = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        fprintf(stderr, "torture: %s\n", dlerror());
        abort();
    }
    struct edge *halls[2] = { dlsym(library, "plugin_bss"), dlsym(library, "plugin_data") };

    for (unsigned i = 0; i < 40; i++) {
        unsigned which = random_below(2);
        struct edge *edge = &halls[which][which == 0 ? i * 200 : 1 + i * 10];
        edge_store(edge, false, build());
    }
    for (int i = 0; i < 100; i++)
        disturb();
    usleep(random_below(20000));
    for (unsigned i = 0; i < 40; i++) {
        drop((struct place){ &halls[0][i * 200], false, "plugin bss" });
        drop((struct place){ &halls[1][1 + i * 10], false, "plugin data" });
    }
    dlclose(library);
    dlopens++;
}

static void library_visit(const char *name)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return;                 /* not on this machine */
    disturb();
    dlclose(library);
    dlopens++;
}

static void *libraries_run(void *seed)
{
    static const char *const names[] = { "libm.so.6", "libz.so.1", "libresolv.so.2",
                                         "libcrypt.so.1", "libstdc++.so.6" };

    random_seed((uintptr_t)seed);
    while (!stopping) {
        if (plugin_path[0] != '\0')
            plugin_visit();
        library_visit(names[random_below(sizeof names / sizeof names[0])]);
        usleep(3000);
    }
    tally_flush();
    return NULL;
}

#endif
