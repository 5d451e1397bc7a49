/* eintr.c -- blocking calls under a storm of collections, and under the program's own signals
 *
 * usage: eintr [rounds]         with LD_PRELOAD=libgcalloc.so, or linked to it
 *
 * A thread collects without a pause (gc_collect, when the library is there) while
 *   quiet      every call of blocking_calls.h is made, all at once: none may end early,
 *              fail with EINTR, transfer less, or never end;
 *   plain      a handler without SA_RESTART interrupts every call;
 *   restart    a handler with SA_RESTART does: what the table says must come out;
 *   cancel     every thread is cancelled inside its call, and its clean-up handler allocates;
 *   parts      a stop signal that is late cuts transfers in two, and a handler with SA_RESTART interrupts
 *              them then: what is done by then is the result;
 *   hammer     short calls are made over and over, to meet a stop at their first instruction;
 *   jump       a handler allocates and jumps out of poll.
 * Handlers keep what they allocate in a list; at the end it must be whole.
 * Without the library the same program must pass, which shows that the table is right.
 * Prints a line for each call and phase; the exit status is 1 when one failed.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include "blocking_calls.h"
#include "world/stop_protocol.h"

#include <setjmp.h>
#include <stdbool.h>

__attribute__((weak)) bool gc_collect(void) __asm__("gc_alloc_collect");

enum {
    SLACK_MS = 20000,           /* later than this is a failure: a wait that begins anew at each stop */
    QUIET_MS = 200,             /* how long the calls last in the quiet phase, and in the others: */
    DISTURBED_MS = 1500,        /* so long that all are still waiting when they are disturbed, */
    DISTURB_MS = 60,            /* which is done so long after the last has begun */
    PARTS = 20, PATIENCE_MS = 10000,
    HAMMER_MS = 1500, HAMMERS = 4,
    JUMPS = 200,
};

enum phase { QUIET, PLAIN, RESTART, CANCEL };
static const char *const phase_names[] = { "quiet", "plain", "restart", "cancel" };

static int failures;            /* atomic */
static int stopping;            /* atomic: ends the collecting thread */
static long collections;

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Not a call under test. */
static void rest_until(double when)
{
    while (now_ms() < when) {
        struct timespec t = ms_time(1);

        syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &t, NULL);
    }
}

static void report(bool ok, const char *phase, const char *name, const char *detail)
{
    if (ok) {
        printf("ok %s %s\n", phase, name);
        return;
    }
    __atomic_fetch_add(&failures, 1, __ATOMIC_SEQ_CST);
    printf("FAIL %s %s: %s\n", phase, name, detail);
}

/* --------------------------------------------------- what handlers leave behind */

struct node {
    struct node *next;
    unsigned long pattern;
};

static struct node *kept;       /* atomic */
static unsigned long kept_count;

static void keep_node(void)
{
    struct node *node = malloc(sizeof(*node));

    if (node == NULL)
        return;
    node->pattern = (unsigned long)node ^ 0x5aa5;
    node->next = __atomic_load_n(&kept, __ATOMIC_SEQ_CST);
    while (!__atomic_compare_exchange_n(&kept, &node->next, node, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
        continue;
    __atomic_fetch_add(&kept_count, 1, __ATOMIC_SEQ_CST);
}

static void check_kept(void)
{
    unsigned long found = 0;
    bool whole = true;

    for (struct node *n = kept; n != NULL && whole; n = n->next, found++)
        whole = n->pattern == ((unsigned long)n ^ 0x5aa5);
    report(whole && found == kept_count, "list", "handlers", "a handler's block was lost");
}

/* The handler of the plain and restart phases. */
static void on_usr1(int number)
{
    int saved = errno;

    (void)number;
    keep_node();
    for (int i = 0; i < 20; i++)
        free(malloc((size_t)(16 << (i % 8))));
    errno = saved;
}

static void on_usr2(int number)
{
    (void)number;
}

static void set_handler(int number, void (*handler)(int), int flags)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

    sigaction(number, &action, NULL);
}

static void *collect(void *unused)
{
    while (!__atomic_load_n(&stopping, __ATOMIC_SEQ_CST)) {
        if (gc_collect != NULL && gc_collect())
            collections++;
        for (int i = 0; i < 100; i++)
            free(malloc((size_t)(i * 40)));
        sched_yield();
    }
    return unused;
}

/* ------------------------------------------------------------------ one run */

static void clean_up(void *argument)
{
    struct run *run = argument;

    for (int i = 0; i < 20; i++)
        free(malloc((size_t)(i * 100)));
    keep_node();
    __atomic_store_n(&run->cleaned, 1, __ATOMIC_SEQ_CST);
}

static void *run_thread(void *argument)
{
    struct run *run = argument;

    pthread_cleanup_push(clean_up, run);
    run->begin = now_ms();
    __atomic_store_n(&run->tid, gettid(), __ATOMIC_SEQ_CST);
    errno = 0;
    run->result = run->call->make(run);
    run->error = run->result == -1 ? errno : 0;
    run->end = now_ms();
    __atomic_store_n(&run->ended, 1, __ATOMIC_SEQ_CST);
    pthread_cleanup_pop(0);
    return run;
}

static bool applies(const struct call *call, enum phase phase)
{
    return phase == QUIET || (phase == PLAIN && call->plain != '-') ||
           (phase == RESTART && call->restart != '-') || (phase == CANCEL && call->cancel == 'C');
}

static struct run *run_new(const struct call *call)
{
    struct run *run = calloc(1, sizeof(*run));

    run->call = call;
    run->data = calloc(1, BIG);
    run->id = -1;
    for (int i = 0; i < 4; i++)
        run->fd[i] = -1;
    if (call->set_up != NULL && !call->set_up(run)) {
        printf("SKIP %s: cannot be set up here: %s\n", call->name, strerror(errno));
        run->skipped = 1;
    }
    return run;
}

static void run_delete(struct run *run)
{
    if (run->child > 0) {
        kill(run->child, SIGKILL);
        waitpid(run->child, NULL, 0);
    }
    for (int i = 3; i >= 0; i--)
        if (run->fd[i] >= 0)
            close(run->fd[i]);
    if (run->call->set_up == set_aio && !run->skipped)
        for (int i = 0; i < 1000 && aio_error(&run->aio) == EINPROGRESS; i++)
            rest_until(now_ms() + 1);
    if (run->call->set_up == set_semaphore_set)
        semctl(run->id, 0, IPC_RMID);
    if (run->call->set_up == set_queue || run->call->set_up == set_queue_full)
        msgctl(run->id, IPC_RMID, NULL);
    if (run->aio_context != 0)
        syscall(SYS_io_destroy, run->aio_context);
    free(run->data);
    free(run);
}

/* What the table expects in this phase: 'E', 'N' or 'P'. */
static char expected(const struct call *call, enum phase phase)
{
    return phase == PLAIN ? call->plain : phase == RESTART ? call->restart : 'N';
}

/* The machine is so busy that the call was over before it could be disturbed: it tells nothing. */
static bool was_over(const struct run *run)
{
    if (run->disturbed == 0 || run->end == 0 || run->end >= run->disturbed)
        return false;
    printf("note: %s was over before it was disturbed\n", run->call->name);
    return true;
}

static void check_run(const struct run *run, enum phase phase)
{
    const struct call *call = run->call;
    double took = run->end - run->begin;
    double least = call->ms < 0 ? wait_ms : call->ms;
    char detail[200];
    bool ok;

    switch (expected(call, phase)) {
    case 'E':
        ok = was_over(run) ||
             (run->result == -1 && run->error == EINTR && took > DISTURB_MS / 2);
        break;
    case 'P':
        ok = run->result > 0 && run->result < BIG;
        break;
    default:
        ok = run->result == call->result && run->error == call->error &&
             took > least - 1 && took < least + SLACK_MS;
    }
    snprintf(detail, sizeof(detail), "expected %c: returned %ld, %s, after %.1f ms",
             expected(call, phase), run->result, strerror(run->error), took);
    report(ok, phase_names[phase], call->name, detail);
}

static void check_cancelled(const struct run *run, const void *ended)
{
    report((ended == PTHREAD_CANCELED && run->cleaned) || was_over(run), phase_names[CANCEL], run->call->name,
           "not cancelled, or not cleaned up");
}

static void disturb(struct run *run, enum phase phase)
{
    if (run->disturbed == 0)
        run->disturbed = now_ms();
    if (phase == CANCEL)
        pthread_cancel(run->thread);
    else if (phase != QUIET)
        pthread_kill(run->thread, SIGUSR1);
}

/* The thread sleeps in the call: not on the way there, stopped by the collector or waiting for it, which is
 * in a futex of operation 128 that no call of the table makes. */
static bool sleeps(struct run *run)
{
    char name[64], text[256] = "";
    int tid = __atomic_load_n(&run->tid, __ATOMIC_SEQ_CST);
    unsigned long word, operation;
    long number;

    if (tid == 0)
        return false;
    snprintf(name, sizeof(name), "/proc/self/task/%d/syscall", tid);
    FILE *file = fopen(name, "re");

    if (file == NULL)
        return true;            /* it has ended already */
    int fields = fgets(text, sizeof(text), file) == NULL
                     ? 0
                     : sscanf(text, "%ld %lx %lx", &number, &word, &operation);

    fclose(file);
    return fields == 3 && number >= 0 && (number != SYS_futex || operation != 128);
}

/* A signal that came before the call, because the machine is busy, interrupted nothing.  The
 * same happens without the library; but not often. */
static void disturb_again(struct run **runs, int count, enum phase phase)
{
    int late = 0;

    for (int round = 0; round < 50; round++) {
        int waiting = 0;

        rest_until(now_ms() + 100);
        for (int i = 0; i < count; i++) {
            if (expected(runs[i]->call, phase) == 'N' ||
                __atomic_load_n(&runs[i]->ended, __ATOMIC_SEQ_CST))
                continue;
            waiting++;
            if (round % 10 == 4) {
                late++;
                disturb(runs[i], phase);
            }
        }
        if (waiting == 0)
            break;
    }
    if (late > 0)
        printf("note: %d calls of phase %s missed their signal\n", late, phase_names[phase]);
    report(late < 5, phase_names[phase], "signals", "many interrupted nothing");
}

/* Calls that wait for one signal may have missed it: then it is sent again. */
static void finish_again(struct run **runs, int count)
{
    int late = 0;

    for (int i = 0; i < count; i++) {
        if (runs[i]->call->finish != signal_it)
            continue;
        for (int k = 1; !__atomic_load_n(&runs[i]->ended, __ATOMIC_SEQ_CST); k++) {
            rest_until(now_ms() + 1);
            if (k % 1000 == 0 && ++late)
                runs[i]->call->finish(runs[i]);
        }
    }
    report(late == 0, phase_names[QUIET], "signals", "one ended nothing");
}

/* Makes and starts them all; returns how many. */
static int start_runs(struct run **runs, enum phase phase)
{
    int count = 0;

    wait_ms = phase == QUIET ? QUIET_MS : DISTURBED_MS;
    set_handler(SIGUSR1, on_usr1, phase == RESTART ? SA_RESTART : 0);
    for (int i = 0; i < CALLS; i++) {
        if (!applies(&calls[i], phase))
            continue;
        runs[count] = run_new(&calls[i]);
        if (runs[count]->skipped)
            run_delete(runs[count]);
        else
            count++;
    }
    for (int i = 0; i < count; i++)
        if (pthread_create(&runs[i]->thread, NULL, run_thread, runs[i]) != 0)
            abort();
    for (int i = 0; i < count; i++)
        for (int k = 0; k < 1000 && !sleeps(runs[i]); k++)
            rest_until(now_ms() + 1);
    return count;
}

/* All calls of a phase at once. */
static void run_phase(enum phase phase)
{
    struct run *runs[CALLS];
    int count = start_runs(runs, phase);
    double begin = now_ms();

    rest_until(begin + DISTURB_MS);
    for (int i = 0; i < count; i++)
        disturb(runs[i], phase);
    rest_until(begin + wait_ms);
    for (int i = 0; i < count; i++)
        if (runs[i]->call->finish != NULL && phase != CANCEL &&
            expected(runs[i]->call, phase) == 'N')
            runs[i]->call->finish(runs[i]);
    if (phase == QUIET)
        finish_again(runs, count);
    if (phase == PLAIN || phase == RESTART)
        disturb_again(runs, count, phase);
    for (int i = 0; i < count; i++) {
        void *ended = NULL;

        pthread_join(runs[i]->thread, &ended);
        if (phase == CANCEL)
            check_cancelled(runs[i], ended);
        else
            check_run(runs[i], phase);
        run_delete(runs[i]);
    }
}

/* ------------------------------------------------------------ parts, hammer and jump */

/* Waits for the end; then the pipe is drained, which ends it in any case. */
static bool ends_soon(struct run *run)
{
    double end = now_ms() + PATIENCE_MS;

    while (!__atomic_load_n(&run->ended, __ATOMIC_SEQ_CST) && now_ms() < end)
        rest_until(now_ms() + 0.1);
    bool ended = __atomic_load_n(&run->ended, __ATOMIC_SEQ_CST);

    if (!ended)
        run->call->finish(run);
    return ended;
}

static void wait_until_all_sleep(struct run **runs, int count)
{
    rest_until(now_ms() + 1);
    for (int i = 0; i < count; i++)
        while (!sleeps(runs[i]))
            sched_yield();
}

/* As from a stop that is over, or was given up, when the thread gets round to it (world/stop.c). */
static void send_late_stop(struct run *run)
{
    siginfo_t info = { .si_signo = STOP_SIGNAL, .si_code = SI_QUEUE, .si_pid = getpid() };

    info.si_value.sival_ptr = (void *)STOP_COOKIE;
    if (gc_collect != NULL)
        syscall(SYS_rt_tgsigqueueinfo, getpid(), run->tid, STOP_SIGNAL, &info);
}

/* All transfers of the table at once, interrupted as soon as they wait. */
static int run_part(void)
{
    struct run *runs[CALLS];
    int count = 0, bad = 0;

    for (int i = 0; i < CALLS; i++)
        if (calls[i].restart == 'P')
            runs[count++] = run_new(&calls[i]);
    for (int i = 0; i < count; i++)
        if (pthread_create(&runs[i]->thread, NULL, run_thread, runs[i]) != 0)
            abort();
    wait_until_all_sleep(runs, count);
    for (int i = 0; i < count; i++)
        send_late_stop(runs[i]);
    wait_until_all_sleep(runs, count);
    for (int i = 0; i < count; i++) {
        bad += runs[i]->ended;
        disturb(runs[i], RESTART);
    }
    for (int i = 0; i < count; i++) {
        bad += !ends_soon(runs[i]) || runs[i]->result <= 0 || runs[i]->result >= BIG;
        pthread_join(runs[i]->thread, NULL);
        run_delete(runs[i]);
    }
    return bad;
}

static void run_parts(void)
{
    int bad = 0;
    char detail[80];

    set_handler(SIGUSR1, on_usr1, SA_RESTART);
    for (int i = 0; i < PARTS && bad == 0; i++)
        bad += run_part();
    snprintf(detail, sizeof(detail), "%d ended early, or did not end", bad);
    report(bad == 0, "parts", "transfers", detail);
}

static void *hammer(void *argument)
{
    double end = now_ms() + HAMMER_MS;
    long *bad = argument;
    int ends[2];
    char block[64] = { 0 };

    if (pipe2(ends, O_CLOEXEC) != 0)
        return argument;
    while (now_ms() < end) {
        struct timespec t = { 0, 300000 };
        struct pollfd one = { ends[0], POLLIN, 0 };
        uint32_t word = 0;
        double begin = now_ms();

        *bad += poll(&one, 1, 1) != 0 || now_ms() - begin < 0.99;
        begin = now_ms();
        *bad += nanosleep(&t, NULL) != 0 || now_ms() - begin < 0.29;
        *bad += usleep(100) != 0;
        t = (struct timespec){ 0, 300000 };
        *bad += syscall(SYS_futex, &word, FUTEX_WAIT, 0, &t, NULL, 0) != -1 || errno != ETIMEDOUT;
        *bad += write(ends[1], block, sizeof(block)) != sizeof(block);
        *bad += poll(&one, 1, -1) != 1;
        *bad += read(ends[0], block, sizeof(block)) != sizeof(block);
        t = (struct timespec){ 0, 1000 };
        *bad += ppoll(&one, 1, &t, NULL) != 0;
    }
    close(ends[0]);
    close(ends[1]);
    return argument;
}

static void run_hammer(void)
{
    pthread_t threads[HAMMERS];
    long bad[HAMMERS] = { 0 }, sum = 0;
    char detail[80];

    for (int i = 0; i < HAMMERS; i++)
        pthread_create(&threads[i], NULL, hammer, &bad[i]);
    for (int i = 0; i < HAMMERS; i++) {
        pthread_join(threads[i], NULL);
        sum += bad[i];
    }
    snprintf(detail, sizeof(detail), "%ld calls ended early or failed", sum);
    report(sum == 0, "hammer", "short calls", detail);
}

static sigjmp_buf jump_target;
static int jumps, jump_ready;   /* atomic */

static void on_jump(int number)
{
    (void)number;
    keep_node();
    siglongjmp(jump_target, 1);
}

static void *jumper(void *unused)
{
    for (int i = 0; i < JUMPS; i++) {
        if (sigsetjmp(jump_target, 1) == 0) {
            __atomic_store_n(&jump_ready, 1, __ATOMIC_SEQ_CST);
            poll(NULL, 0, -1);
        }
        __atomic_fetch_add(&jumps, 1, __ATOMIC_SEQ_CST);
        free(malloc(1000));
        i = jumps - 1;
    }
    return unused;
}

/* A signal must find the thread in poll, not in malloc: it is given a millisecond to get there. */
static void run_jumps(void)
{
    pthread_t thread;

    set_handler(SIGUSR1, on_jump, 0);
    pthread_create(&thread, NULL, jumper, NULL);
    for (int i = 0; i < JUMPS; i++) {
        while (!__atomic_load_n(&jump_ready, __ATOMIC_SEQ_CST))
            sched_yield();
        __atomic_store_n(&jump_ready, 0, __ATOMIC_SEQ_CST);
        rest_until(now_ms() + 1);
        pthread_kill(thread, SIGUSR1);
        while (__atomic_load_n(&jumps, __ATOMIC_SEQ_CST) == i)
            sched_yield();
    }
    pthread_join(thread, NULL);
    report(jumps == JUMPS, "jump", "poll", "a jump out of a handler was lost");
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 2;
    pthread_t collector;

    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(300);
    signal(SIGPIPE, SIG_IGN);
    set_handler(SIGUSR2, on_usr2, 0);
    pthread_create(&collector, NULL, collect, NULL);
    for (int i = 0; i < rounds; i++) {
        for (int phase = QUIET; phase <= CANCEL; phase++)
            run_phase((enum phase)phase);
        run_parts();
        run_hammer();
    }
    run_jumps();
    check_kept();
    __atomic_store_n(&stopping, 1, __ATOMIC_SEQ_CST);
    pthread_join(collector, NULL);
    if (gc_collect == NULL)
        printf("SKIP collections: no gc_collect here: the baseline without the library\n");
    else
        report(collections > 0, "collections", "made", "not one collection succeeded");
    printf("%ld collections, %d failures\n", collections, failures);
    return failures != 0;
}
