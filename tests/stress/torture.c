/* torture.c -- no object that can be reached is ever lost, whatever the program does meanwhile
 *
 * torture [--threads N] [--seconds S] [--seed X] [--handlers 0|1|2] [--collect MS] [--forks MS]
 *
 * PURPOSE  Threads move the only pointers to structures of malloc blocks and gc_alloc objects
 *          between heap, stacks, registers, thread-locals, roots of all sorts and each other, by
 *          plain stores and by the write barrier, so as to hide them from a collector that marks at
 *          the same time: a pointer leaves a place not yet looked at for one that was.
 *          Meanwhile structures are leaked and freed, children forked, libraries loaded and
 *          unloaded, and threads end and are replaced.  Whoever follows an edge checks what it
 *          leads to (torture_node.h).  At the end what was leaked must be gone.
 *          Meant for GCALLOC_DEBUG=gcstress=256,gccheckmark=1,poison=1.
 *
 * --handlers  what the signal handler does: 0 nothing, 1 plain stores, 2 also GC_WRITE (default)
 * --collect   gc_collect() every MS milliseconds (default 100; 0: never)
 * --forks     at most one fork every MS milliseconds (default 100; 0: none)
 */
#define _GNU_SOURCE
#include "torture_hazard.h"
#include <getopt.h>
#include <sys/wait.h>
#include <time.h>

enum { CHILD_STATUS = 7, MAX_STRUCTURE = 2000, GENERATION_STEPS = 120000, MAX_ERRANDS = 8,
       MAX_CHILDREN = 2 };

struct worker {
    struct hall halls[HALLS];
    unsigned number;
    bool forked;                /* in a child */
    bool errand_out;
    int pipe[2];
    pid_t child;
    uint64_t key_ids[KEYS];     /* what the pthread keys point to has this number */
    pthread_t errand;
};

/* What a worker leaves to its successor: the result of its thread, in a malloc block. */
struct estate {
    struct edge edges[HALLS * MAX_SLOTS];
};

/* Of main; a worker reads its own. */
struct post {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
    struct estate *estate;      /* for the worker that starts */
    atomic_bool done;           /* the worker can be joined */
};

static struct post posts[MAX_THREADS];
static unsigned threads = 4, seconds = 10, collect_ms = 100, forks_ms = 100;
static uint64_t seed = 1;
static pthread_key_t keys[KEYS];
static atomic_ulong forks, generations;
static atomic_int children;
static _Atomic uint64_t next_fork_ns;

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- Steps -------------------------------------------------------------------------- */

static void step_build(struct worker *worker)
{
    struct place place = pick_place(worker->halls);

    drop(place);
    place_store(place, build());
}

/* The content of a place goes to another; in between only this frame has it. */
static void step_move(struct worker *worker)
{
    struct place from = pick_place(worker->halls), to = pick_place(worker->halls);

    if (from.edge == to.edge)
        return;
    struct edge moved = *from.edge, other = *to.edge;

    place_store(from, no_edge);
    disturb();
    place_store(to, moved);
    disturb();
    place_store(from, other);
    tally.moves++;
}

/* The adversary of a concurrent marker: { p = a->next; b->next = p; a->next = NULL }, in both
 * orders and many times over, a and b being old nodes anywhere. */
static void step_hide(struct worker *worker)
{
    struct place a = pick_place(worker->halls), b = pick_place(worker->halls);

    if (a.edge == b.edge)
        return;
    struct place from = pick_inside(a, false), to = pick_inside(b, true);

    if (from.edge == NULL || to.edge == NULL)
        return;
    for (unsigned i = random_below(50) * 2 + 1; i > 0; i--) {
        struct edge moved = *from.edge;
        bool copy_first = random_below(2) == 0;
        if (copy_first)
            place_store(to, moved);
        place_store(from, no_edge);
        if (!copy_first)
            place_store(to, moved);
        tally.moves++;
        struct place back = from;
        from = to;
        to = back;
    }
    disturb();
}

/* Two subtrees change places. */
static void step_swap(struct worker *worker)
{
    struct place a = pick_place(worker->halls), b = pick_place(worker->halls);

    if (a.edge == b.edge)
        return;
    a = pick_inside(a, false);
    b = pick_inside(b, false);
    if (a.edge == NULL || b.edge == NULL)
        return;
    struct edge moved = *a.edge;

    place_store(a, *b.edge);
    disturb();
    place_store(b, moved);
    tally.moves += 2;
}

static void step_verify(struct worker *worker)
{
    struct place place = pick_place(worker->halls);
    struct census census = { 0, 0, 0 };

    verify(place.edge, place.holder, &census);
    if (census.nodes > MAX_STRUCTURE)
        drop(place);
}

static void step_drop(struct worker *worker) { drop(pick_place(worker->halls)); }

/* In a register, or where the compiler spills it, and nowhere else. */
static void step_register(struct worker *worker)
{
    struct place place = pick_place(worker->halls);
    struct edge held = *place.edge;

    if (held.to == NULL)
        return;
    place_store(place, no_edge);
    for (unsigned i = random_below(200); i > 0; i--) {
        __asm__ volatile("" : "+r"(held.to));
        disturb();
    }
    node_check(&held, "a register");
    place_store(place, held);
}

static void step_key(struct worker *worker)
{
    unsigned key = random_below(KEYS);
    struct place place = pick_place(worker->halls);
    struct edge found = { pthread_getspecific(keys[key]), worker->key_ids[key] };

    pthread_setspecific(keys[key], place.edge->to);
    worker->key_ids[key] = place.edge->id;
    place_store(place, no_edge);
    disturb();
    if (found.to != NULL)
        node_check(&found, "a pthread key");
    place_store(place, found);
    tally.moves++;
}

static void step_mail(struct worker *worker)
{
    struct place place = pick_place(worker->halls);
    struct edge edge = *place.edge;

    place_store(place, no_edge);
    place_store(place, mail_exchange(edge));
    verify(place.edge, "mail", &(struct census){ 0, 0, 0 });
    tally.moves++;
}

/* The kernel writes the pointer into a malloc block; the frame keeps a copy until it has. */
static void step_pipe(struct worker *worker)
{
    enum sort sort = random_below(2) == 0 ? LARGE : VECTOR;
    struct place from = pick_place(worker->halls);
    struct place to = hall_place(worker->halls, sort, random_below(slots));
    struct edge copy = *from.edge;
    struct node *volatile kept = copy.to;

    if (from.edge == to.edge)
        return;
    drop(to);
    if (write(worker->pipe[1], from.edge, sizeof copy) != sizeof copy)
        abort();
    place_store(from, no_edge);
    disturb();
    if (read(worker->pipe[0], to.edge, sizeof copy) != sizeof copy || to.edge->to != kept)
        abort();
    kept = NULL;
    tally.moves++;
}

/* Joins the thread that is out, or sends one: joined later, or detached. */
static void step_errand(struct worker *worker)
{
    struct place place = pick_place(worker->halls);
    struct edge edge = *place.edge;
    bool joined = random_below(2) == 0;
    pthread_t thread;

    if (worker->errand_out) {
        drop(place);
        place_store(place, errand_join(worker->errand));
        worker->errand_out = false;
    } else if (edge.to != NULL && errands_alive < MAX_ERRANDS) {
        place_store(place, no_edge);
        if (!errand_start(edge, joined, &thread)) {
            place_store(place, edge);
        } else if (joined) {
            worker->errand = thread;
            worker->errand_out = true;
        }
    }
}

static void step_renew(struct worker *worker)
{
    hall_renew(worker->halls, MAPPED + random_below(HALLS - MAPPED));
}

/* One thing at random; a child does without what other threads would have to answer. */
static void step(struct worker *worker)
{
    unsigned choice = random_below(1000);

    tally.steps++;
    if (choice < 150)
        step_build(worker);
    else if (choice < 300)
        step_move(worker);
    else if (choice < 600)
        step_hide(worker);
    else if (choice < 700)
        step_swap(worker);
    else if (choice < 780)
        step_verify(worker);
    else if (choice < 840)
        step_drop(worker);
    else if (choice < 845)
        step_register(worker);
    else if (choice < 880)
        step_key(worker);
    else if (choice < 920)
        step_pipe(worker);
    else if (choice < 924)
        step_renew(worker);
    else if (choice < 926 && handlers != HANDLERS_NONE)
        juggle_renew(false);
    else if (choice < 927 && !worker->forked)
        step_errand(worker);
    else if (!worker->forked)
        step_mail(worker);
}

/* ---- Children ----------------------------------------------------------------------- */

static void verify_all(struct worker *worker)
{
    for (enum sort sort = STACK; sort < HALLS; sort++)
        for (unsigned i = 0; i < slots; i++) {
            struct place place = hall_place(worker->halls, sort, i);
            verify(place.edge, place.holder, &(struct census){ 0, 0, 0 });
        }
}

/* One cycle may be abandoned (failvm); not one after the other. */
static void child_collect(void)
{
    for (int tries = 0; tries < 20; tries++)
        if (gc_collect())
            return;
    _exit(2);
}

/* Goes on alone with a copy of everything, except what was shared with the parent. */
static __attribute__((noreturn)) void child_run(struct worker *worker)
{
    shared_unshare();
    alarm(240);
    signal(SIGALRM, SIG_DFL);
    worker->forked = true;
    random_seed((uint64_t)getpid());
    if (pipe(worker->pipe) != 0)
        _exit(1);
    verify_all(worker);
    for (int i = 0; i < 300; i++)
        step(worker);
    if (random_below(3) == 0)
        child_collect();
    verify_all(worker);
    _exit(CHILD_STATUS);
}

static void child_reap(struct worker *worker, int flags)
{
    int status;
    pid_t pid = worker->child == 0 ? 0 : waitpid(worker->child, &status, flags);

    if (pid == 0 || (pid < 0 && errno == EINTR))
        return;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != CHILD_STATUS) {
        fprintf(stderr, "torture: a child ended with status %x\n", (unsigned)status);
        abort();
    }
    worker->child = 0;
    children--;
    forks++;
}

/* One child a worker, few in all, and one new child every forks_ms in all. */
static void child_start(struct worker *worker)
{
    uint64_t now = clock_ns(), due = next_fork_ns;

    child_reap(worker, WNOHANG);
    if (forks_ms == 0 || worker->child != 0 || children >= MAX_CHILDREN || now < due ||
        !atomic_compare_exchange_strong(&next_fork_ns, &due, now + forks_ms * 1000000ull))
        return;
    children++;
    worker->child = fork();
    if (worker->child == 0)
        child_run(worker);
    if (worker->child < 0) {
        perror("torture: fork");
        abort();
    }
}

/* ---- Workers ------------------------------------------------------------------------ */

static void worker_open(struct worker *worker, struct post *post, struct edge *stack)
{
    struct estate *estate = post->estate;

    random_seed(post->seed);
    worker->number = post->number;
    hall_open_all(worker->halls, worker->number, stack);
    if (pipe(worker->pipe) != 0)
        abort();
    post->estate = NULL;
    for (unsigned i = 0; estate != NULL && i < HALLS * slots; i++) {
        struct place place = hall_place(worker->halls, (enum sort)(i / slots), i % slots);
        place_store(place, estate->edges[i]);
    }
    free(estate);
    if (handlers != HANDLERS_NONE)
        juggle_start();
}

/* Ends with everything in the estate. */
static struct estate *worker_close(struct worker *worker)
{
    struct estate *estate = block_make(KIND_MALLOC, sizeof *estate);

    if (handlers != HANDLERS_NONE)
        juggle_renew(true);
    while (worker->child != 0)
        child_reap(worker, 0);
    if (worker->errand_out)
        let_go(errand_join(worker->errand));
    for (unsigned i = 0; i < KEYS; i++) {
        struct edge edge = { pthread_getspecific(keys[i]), worker->key_ids[i] };
        pthread_setspecific(keys[i], NULL);
        let_go(edge);
    }
    hall_close_all(worker->halls, estate->edges);
    close(worker->pipe[0]);
    close(worker->pipe[1]);
    return estate;
}

static void *worker_run(void *argument)
{
    struct post *post = argument;
    struct edge stack[MAX_SLOTS] = { no_edge };
    struct worker worker = { .child = 0 };
    unsigned steps = GENERATION_STEPS / (threads + 1);

    worker_open(&worker, post, stack);
    steps = steps / 2 + random_below(steps);
    for (unsigned i = 0; i < steps && !stopping; i++) {
        step(&worker);
        if (i % 64 == 0)
            child_start(&worker);
    }
    struct estate *estate = worker_close(&worker);

    tally_flush();
    generations++;
    atomic_store(&post->done, true);
    return estate;
}

static void post_fill(struct post *post)
{
    int error = EAGAIN;

    post->seed = ++seed * 1000003;
    post->done = false;
    for (int tries = 0; error == EAGAIN && tries < 1000; tries++) {
        error = pthread_create(&post->thread, NULL, worker_run, post);
        if (error != 0)
            usleep(1000);       /* injected, or many threads that are just ending */
    }
    if (error != 0) {
        fprintf(stderr, "torture: pthread_create: %s\n", strerror(error));
        abort();
    }
}

static void post_join(struct post *post)
{
    void *estate;

    if (pthread_join(post->thread, &estate) != 0)
        abort();
    post->estate = estate;
}

/* ---- The end ------------------------------------------------------------------------ */

static struct gc_memstats stats;
static uint64_t peak_bytes;

/* All that the workers left, leaked. */
static __attribute__((noinline)) void drop_everything(void)
{
    for (unsigned i = 0; i < threads; i++) {
        struct estate *estate = posts[i].estate;
        posts[i].estate = NULL;
        for (unsigned k = 0; k < HALLS * slots; k++)
            let_go(estate->edges[k]);
        free(estate);
    }
    mail_drop_all();
    tally_flush();
}

/* Overwrites what calls have left below the stack pointer. */
static __attribute__((noinline)) void clobber_stack(void)
{
    volatile char junk[65536];

    memset((char *)junk, 0, sizeof junk);
}

static void *scrub_run(void *barrier)
{
    clobber_stack();
    pthread_barrier_wait(barrier);
    return NULL;
}

/* libc keeps the stacks of ended threads for new ones, with all the words that are left on them. */
static void scrub_stacks(void)
{
    pthread_t scrubbers[MAX_THREADS + MAX_ERRANDS + 1];
    unsigned count = 0, most = threads + MAX_ERRANDS + 1;
    pthread_barrier_t barrier;

    pthread_barrier_init(&barrier, NULL, most);
    for (int tries = 0; count < most && tries < 1000; tries++)
        count += pthread_create(&scrubbers[count], NULL, scrub_run, &barrier) == 0;
    if (count < most)
        abort();
    for (unsigned i = 0; i < most; i++)
        pthread_join(scrubbers[i], NULL);
    pthread_barrier_destroy(&barrier);
    clobber_stack();
}

static bool expect(bool good, const char *what)
{
    if (!good)
        printf("FAIL %s\n", what);
    return good;
}

/* Leaked blocks are gone, all but the few that a stale word somewhere keeps. */
static bool leaks_are_gone(void)
{
    uint64_t leaked = all_leaked_malloc, allowance = (4 << 20) + leaked / 50;
    bool good = true;

#ifdef PLAIN
    return true;
#endif
    scrub_stacks();
    for (int i = 0; i < 4; i++)
        gc_collect();
    gc_read_memstats(&stats);
    good &= expect(stats.num_gc > 0, "a cycle has run");
    good &= expect(stats.heap_alloc - stats.heap_cached_bytes < allowance, "the heap is empty");
    good &= expect(stats.malloc_reclaimed + allowance > leaked, "leaks are reclaimed");
    good &= expect(stats.malloc_reclaimed < leaked + allowance, "nothing but leaks is reclaimed");
    return good;
}

static void report(bool good)
{
    printf("torture: %u threads: %lu steps, %lu moves, %lu structures, %lu checks, %lu generations,"
           " %lu errands, %lu forks, %lu dlopens, %lu signals\n", threads, all_steps, all_moves,
           all_builds, all_checked, generations, errands_done, forks, dlopens, signals_taken);
    printf("torture: %u cycles, %u abandoned; leaked %lu KiB malloc, %lu KiB gc, reclaimed %lu KiB"
           " malloc; heap peak %lu KiB, end %lu KiB, cached %lu KiB\n", (unsigned)stats.num_gc,
           (unsigned)stats.num_abandoned_gc, all_leaked_malloc >> 10, all_leaked_gc >> 10,
           stats.malloc_reclaimed >> 10, peak_bytes >> 10, stats.heap_alloc >> 10,
           stats.heap_cached_bytes >> 10);
    puts(good ? "ok" : "FAIL");
}

/* ---- The beginning ------------------------------------------------------------------ */

static void run(void)
{
    uint64_t start = clock_ns(), end = start + seconds * 1000000000ull, next_collect = start;

    for (unsigned i = 0; i < threads; i++)
        post_fill(&posts[i]);
    for (uint64_t now = start; now < end; now = clock_ns()) {
        usleep(20000);
        for (unsigned i = 0; i < threads; i++)
            if (posts[i].done) {
                post_join(&posts[i]);
                post_fill(&posts[i]);
            }
        if (collect_ms != 0 && now >= next_collect) {
            gc_collect();
            next_collect = now + collect_ms * 1000000ull;
        }
        gc_read_memstats(&stats);
        if (stats.heap_alloc > peak_bytes)
            peak_bytes = stats.heap_alloc;
    }
    stopping = true;
    for (unsigned i = 0; i < threads; i++)
        post_join(&posts[i]);
    while (errands_alive != 0)
        usleep(1000);
}

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*end != '\0' || end == text || value > most) {
        fprintf(stderr, "torture: bad number %s\n", text);
        exit(2);
    }
    return value;
}

static void parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "threads", required_argument, NULL, 't' }, { "seconds", required_argument, NULL, 's' },
        { "seed", required_argument, NULL, 'x' },    { "handlers", required_argument, NULL, 'h' },
        { "collect", required_argument, NULL, 'c' }, { "forks", required_argument, NULL, 'f' },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't': threads = number(optarg, MAX_THREADS); break;
        case 's': seconds = number(optarg, 86400); break;
        case 'x': seed = number(optarg, UINT32_MAX); break;
        case 'h': handlers = number(optarg, HANDLERS_BARRIER); break;
        case 'c': collect_ms = number(optarg, 1000000); break;
        case 'f': forks_ms = number(optarg, 1000000); break;
        default: exit(2);
        }
    }
}

/* More threads: fewer and smaller structures each, so that the whole stays the same. */
static void configure(void)
{
    const char *mode = getenv("GCALLOC_MODE");

    if (threads > 8) {
        slots = 4;
        huge_bytes = 1 << 20;
    }
    if (mode != NULL && strcmp(mode, "manual") == 0)
        leaks = LEAK_GC;
#ifdef PLAIN
    leaks = LEAK_NONE;
#endif
    for (unsigned i = 0; i < MAX_THREADS; i++)
        posts[i].number = i;
    for (unsigned i = 0; i < KEYS; i++)
        pthread_key_create(&keys[i], NULL);
}

int main(int argc, char **argv)
{
    pthread_t libraries;

    parse(argc, argv);
    configure();
    signals_block(true);
    plugin_make();
    signals_start();
    if (pthread_create(&libraries, NULL, libraries_run, (void *)(uintptr_t)seed) != 0)
        abort();
    run();
    pthread_join(libraries, NULL);
    drop_everything();
    bool good = leaks_are_gone();

    plugin_remove();
    report(good);
    return !good;
}
