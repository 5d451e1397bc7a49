/* signals_api.c -- signal handling behaves as libc's, whoever stands in between
 *
 * usage: signals_api               with LD_PRELOAD=libgcalloc.so, or linked to it
 *
 * Each test prints `ok name` or `FAIL name: why`; the exit status is 1 when one failed.
 * The same program must pass without the library.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/sys.h"
#include "expect.h"

static volatile sig_atomic_t hits_a, hits_b, seen_number, seen_code;
static void *volatile seen_value;

static void on_a(int number)
{
    seen_number = number;
    hits_a++;
}

static void on_b(int number, siginfo_t *info, void *context)
{
    seen_number = number;
    seen_code = context == NULL ? -1 : info->si_code;
    seen_value = info->si_value.sival_ptr;
    hits_b++;
}

static void set(int number, void (*handler)(int), int flags, struct sigaction *old)
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };

    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(number, &action, old);
}

/* What was set is what is shown; what is replaced is given back. */
static void query_and_replace(void)
{
    struct sigaction old, three = { .sa_sigaction = on_b, .sa_flags = SA_SIGINFO | SA_NODEFER };

    set(SIGUSR1, on_a, SA_RESTART, NULL);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0);
    EXPECT(old.sa_handler == on_a && (old.sa_flags & ~0x04000000) == SA_RESTART);
    EXPECT(sigismember(&old.sa_mask, SIGUSR2) == 1 && sigismember(&old.sa_mask, SIGHUP) == 0);
    EXPECT(sigaction(SIGUSR1, &three, &old) == 0 && old.sa_handler == on_a);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_sigaction == on_b);
    EXPECT((old.sa_flags & ~0x04000000) == (SA_SIGINFO | SA_NODEFER));
    EXPECT(sigaction(SIGUSR1, &old, NULL) == 0);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_sigaction == on_b);
    EXPECT(signal(SIGUSR1, SIG_IGN) == (sighandler_t)(void (*)(void))on_b);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
    EXPECT(signal(SIGUSR1, on_a) == SIG_IGN);
    EXPECT(signal(SIGUSR1, SIG_DFL) == on_a);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    printf("ok query_and_replace\n");
}

static void errors(void)
{
    struct sigaction action = { .sa_handler = on_a }, old;

    errno = 0;
    EXPECT(sigaction(SIGKILL, &action, NULL) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(sigaction(0, &action, &old) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(sigaction(33, &action, NULL) == -1 && errno == EINVAL);
    errno = 0;
    EXPECT(signal(4711, on_a) == SIG_ERR && errno == EINVAL);
    printf("ok errors\n");
}

static void delivery(void)
{
    struct sigaction action = { .sa_sigaction = on_b, .sa_flags = SA_SIGINFO };
    union sigval value = { .sival_ptr = &value };

    hits_a = hits_b = 0;
    set(SIGUSR1, on_a, 0, NULL);
    raise(SIGUSR1);
    EXPECT(hits_a == 1 && seen_number == SIGUSR1);
    sigaction(SIGUSR1, &action, NULL);
    sigqueue(getpid(), SIGUSR1, value);
    EXPECT(hits_b == 1 && seen_code == SI_QUEUE && seen_value == &value);
    sigaction(SIGRTMIN + 3, &action, NULL);
    for (int i = 0; i < 5; i++)
        sigqueue(getpid(), SIGRTMIN + 3, value);
    EXPECT(hits_b == 6 && seen_number == SIGRTMIN + 3);
    printf("ok delivery\n");
}

static void resethand(void)
{
    struct sigaction old;

    hits_a = 0;
    set(SIGCHLD, on_a, (int)SA_RESETHAND, NULL);
    raise(SIGCHLD);
    EXPECT(hits_a == 1);
    EXPECT(sigaction(SIGCHLD, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    EXPECT((old.sa_flags & SA_SIGINFO) == 0);
    raise(SIGCHLD);
    EXPECT(hits_a == 1);
    EXPECT(sysv_signal(SIGCHLD, on_a) == SIG_DFL);
    raise(SIGCHLD);
    EXPECT(hits_a == 2 && sysv_signal(SIGCHLD, SIG_DFL) == SIG_DFL);
    printf("ok resethand\n");
}

/* signal() restarts calls, until siginterrupt() says otherwise. */
static void interrupt(void)
{
    struct sigaction old;

    signal(SIGUSR1, on_a);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && (old.sa_flags & SA_RESTART) != 0);
    #pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    EXPECT(siginterrupt(SIGUSR1, 1) == 0);
    EXPECT(sigaction(SIGUSR1, NULL, &old) == 0);
    EXPECT(old.sa_handler == on_a && (old.sa_flags & SA_RESTART) == 0);
    EXPECT(siginterrupt(SIGUSR1, 0) == 0);
    hits_a = 0;
    raise(SIGUSR1);
    EXPECT(hits_a == 1);
    EXPECT(sigset(SIGUSR1, SIG_HOLD) == on_a);
    raise(SIGUSR1);
    EXPECT(hits_a == 1);
    EXPECT(sigset(SIGUSR1, on_a) == SIG_HOLD);
    EXPECT(hits_a == 2);
    printf("ok interrupt\n");
}

/* The handler's changes to the context take effect. */
extern char fault_here[], fault_after[];

static void skip_fault(int number, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;

    (void)number;
    seen_value = info->si_addr;
    context->uc_mcontext.gregs[REG_RIP] = (greg_t)fault_after;
    context->uc_mcontext.gregs[REG_RAX] = 4242;
}

static void change_context(void)
{
    struct sigaction action = { .sa_sigaction = skip_fault, .sa_flags = SA_SIGINFO }, before;
    long result = 0;

    sigaction(SIGSEGV, &action, &before);
    __asm__ volatile(".globl fault_here, fault_after\n"
                     "fault_here: movq 16, %0\n"
                     "fault_after:\n"
                     : "+a"(result));
    sigaction(SIGSEGV, &before, NULL);
    EXPECT(result == 4242 && seen_value == (void *)16);
    printf("ok change_context\n");
}

static volatile uintptr_t handler_frame;

static void note_frame(int number)
{
    (void)number;
    handler_frame = (uintptr_t)__builtin_frame_address(0);
    free(malloc(100));
}

static void alternate_stack(void)
{
    size_t bytes = 64 << 10;
    stack_t stack = { .ss_sp = malloc(bytes), .ss_size = bytes }, none = { .ss_flags = SS_DISABLE };

    EXPECT(sigaltstack(&stack, NULL) == 0);
    set(SIGUSR1, note_frame, SA_ONSTACK, NULL);
    raise(SIGUSR1);
    EXPECT(handler_frame - (uintptr_t)stack.ss_sp < bytes);
    set(SIGUSR1, note_frame, 0, NULL);
    raise(SIGUSR1);
    EXPECT(handler_frame - (uintptr_t)stack.ss_sp >= bytes);
    sigaltstack(&none, NULL);
    free(stack.ss_sp);
    printf("ok alternate_stack\n");
}

/* As small as the kernel takes it: no handler fits on it where registers are large.  None comes.  Before Linux
 * 5.14 the kernel does not say how much it needs. */
static int small_ready, small_quit, kernel_is_silent;

/* libc's, for all that ask, but as on an older kernel. */
unsigned long getauxval(unsigned long type)
{
    enum { MINSIGSTKSZ_TOLD = 51 };
    unsigned long pair[2], found = 0;
    int fd = sys_open_read("/proc/self/auxv");

    while (sys_read(fd, pair, sizeof pair) == (long)sizeof pair && pair[0] != 0)
        if (pair[0] == type && !(kernel_is_silent && type == MINSIGSTKSZ_TOLD))
            found = pair[1];
    sys_close(fd);
    if (found == 0)
        errno = ENOENT;
    return found;
}

static void use_small_stack(void *memory)
{
    stack_t stack = { .ss_sp = memory, .ss_size = 2048 }, seen, none = { .ss_flags = SS_DISABLE };

    EXPECT(sigaltstack(&stack, NULL) == 0);
    EXPECT(sigaltstack(NULL, &seen) == 0 && seen.ss_sp == memory && seen.ss_size == 2048);
    EXPECT(seen.ss_flags == 0);
    __atomic_store_n(&small_ready, 1, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&small_quit, __ATOMIC_SEQ_CST))
        ;
    EXPECT(sigaltstack((const stack_t *)16, NULL) == -1 && errno == EFAULT);
    EXPECT(sigaltstack(&none, &seen) == 0 && seen.ss_sp == memory && seen.ss_size == 2048);
    EXPECT(sigaltstack(NULL, &seen) == 0 && (seen.ss_flags & SS_DISABLE) != 0);
}

static void *compute_with_small_stack(void *memory)
{
    use_small_stack(memory);
    __atomic_store_n(&small_ready, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void small_alternate_stack(int silent)
{
    pthread_t thread;
    void *memory = malloc(2048);

    kernel_is_silent = silent;
    small_ready = small_quit = 0;
    EXPECT(pthread_create(&thread, NULL, compute_with_small_stack, memory) == 0);
    while (!__atomic_load_n(&small_ready, __ATOMIC_SEQ_CST))
        poll(NULL, 0, 1);
    for (int i = 0; i < 10 && gc_collect != NULL; i++)
        EXPECT(gc_collect());
    __atomic_store_n(&small_quit, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
    free(memory);
    printf("ok small_alternate_stack%s\n", silent ? ", an older kernel" : "");
}

/* A thread that ends, but has not yet, and one that begins have small stacks: the kernel uses one for each. */
static pthread_key_t ending_key;
static pthread_barrier_t both_there;
static void *kernels_stack[2];

static void ask_kernel(void *where)
{
    stack_t seen = { 0 };

    syscall(SYS_sigaltstack, NULL, &seen);
    *(void **)where = (seen.ss_flags & SS_DISABLE) != 0 ? NULL : seen.ss_sp;
}

static void end_slowly(void *where)
{
    pthread_barrier_wait(&both_there);
    ask_kernel(where);
    pthread_barrier_wait(&both_there);
}

static void *set_small_stack(void *where)
{
    static char memory[2][2048];
    size_t i = (void **)where == &kernels_stack[1];
    stack_t stack = { .ss_sp = memory[i], .ss_size = sizeof memory[i] };

    if (sigaltstack(&stack, NULL) != 0)
        abort();
    if (i == 0)
        pthread_setspecific(ending_key, where);
    else
        end_slowly(where);
    return NULL;
}

static void small_stack_of_one_that_ends(void)
{
    pthread_t threads[2];

    EXPECT(pthread_key_create(&ending_key, end_slowly) == 0);
    pthread_barrier_init(&both_there, NULL, 2);
    for (int i = 0; i < 2; i++) {
        EXPECT(pthread_create(&threads[i], NULL, set_small_stack, &kernels_stack[i]) == 0);
        usleep(50000);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    EXPECT(kernels_stack[1] != NULL && kernels_stack[0] != kernels_stack[1]);
    printf("ok small_stack_of_one_that_ends\n");
}

/* All threads have the same alternate stack, and are stopped together. */
static char shared_stack[64 << 10];
static _Atomic int sharing, shared_enough;

static void *share_stack(void *argument)
{
    stack_t stack = { .ss_sp = shared_stack, .ss_size = sizeof shared_stack };
    uintptr_t volatile local = (uintptr_t)argument;
    register uintptr_t kept __asm__("r12") = (uintptr_t)argument;

    if (sigaltstack(&stack, NULL) != 0)
        abort();
    sharing++;
    while (!shared_enough)
        __asm__ volatile("pause" : "+r"(kept));
    return (void *)(kept == local ? local : 0);
}

static void shared_alternate_stack(void)
{
    enum { THREADS = 8, CYCLES = 30 };
    pthread_t threads[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, share_stack, (void *)(i + 1));
    while (sharing < THREADS)
        usleep(1000);
    for (int i = 0; i < CYCLES; i++)
        gc_collect();
    shared_enough = 1;
    for (uintptr_t i = 0; i < THREADS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        EXPECT((uintptr_t)result == i + 1);
    }
    printf("ok shared_alternate_stack\n");
}

/* More handlers than anybody expects: functions made at run time. */
static void many_handlers(void)
{
    enum { FUNCTIONS = 1500, BYTES = 16 };
    static const unsigned char code[] = { 0xff, 0x07, 0xc3 };   /* never run: incl (%rdi); ret */
    unsigned char *page = mmap(NULL, FUNCTIONS * BYTES, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct sigaction action = { .sa_handler = on_a }, old;

    set(SIGUSR1, on_a, 0, NULL);
    EXPECT(page != MAP_FAILED);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < FUNCTIONS; i++) {
            memcpy(page + i * BYTES, code, sizeof(code));
            sighandler_t before = action.sa_handler;

            action.sa_handler = (sighandler_t)(page + i * BYTES);
            EXPECT(sigaction(SIGUSR1, &action, &old) == 0 && old.sa_handler == before);
            EXPECT(sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == action.sa_handler);
        }
    }
    hits_a = 0;
    set(SIGUSR1, on_a, 0, NULL);
    raise(SIGUSR1);
    EXPECT(hits_a == 1);
    munmap(page, FUNCTIONS * BYTES);
    printf("ok many_handlers\n");
}

/* Two threads set two handlers for one signal: what is found is always one of them with
 * its own flags, and a signal always finds a handler. */
static int stop_setting;

static void *keep_setting(void *other)
{
    struct sigaction action = { .sa_flags = 0 };

    while (!__atomic_load_n(&stop_setting, __ATOMIC_SEQ_CST)) {
        if (other == NULL) {
            action.sa_handler = on_a;
            action.sa_flags = SA_RESTART;
        } else {
            action.sa_sigaction = on_b;
            action.sa_flags = SA_SIGINFO;
        }
        sigaction(SIGUSR1, &action, NULL);
    }
    return NULL;
}

static void concurrent(void)
{
    pthread_t threads[2];
    struct sigaction old;
    int wrong = 0, sent = 20000;

    hits_a = hits_b = 0;
    set(SIGUSR1, on_a, SA_RESTART, NULL);
    pthread_create(&threads[0], NULL, keep_setting, NULL);
    pthread_create(&threads[1], NULL, keep_setting, &threads);
    for (int i = 0; i < sent; i++) {
        raise(SIGUSR1);
        sigaction(SIGUSR1, NULL, &old);
        bool a = old.sa_handler == on_a && (old.sa_flags & ~0x04000000) == SA_RESTART;
        bool b = old.sa_sigaction == on_b && (old.sa_flags & ~0x04000000) == SA_SIGINFO;
        wrong += !a && !b;
    }
    __atomic_store_n(&stop_setting, 1, __ATOMIC_SEQ_CST);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    EXPECT(wrong == 0);
    EXPECT(hits_a + hits_b == sent);
    printf("ok concurrent\n");
}

/* Handlers set in a handler, while the thread waits in poll. */
static void set_again(int number)
{
    if (++hits_b < 50)
        set(number, hits_b % 2 ? note_frame : set_again, SA_RESTART, NULL);
    set(number, set_again, 0, NULL);
    free(malloc(300));
    if (gc_collect != NULL)
        gc_collect();
}

/* Signals that come while the handler runs are merged: more than 50 may have to be sent. */
static void *send_some(void *target)
{
    pthread_t thread = *(pthread_t *)target;

    while (hits_b < 50) {
        poll(NULL, 0, 2);
        pthread_kill(thread, SIGUSR1);
    }
    return NULL;
}

static void set_in_handler(void)
{
    pthread_t self = pthread_self(), sender;
    int interrupted = 0;

    hits_b = 0;
    set(SIGUSR1, set_again, 0, NULL);
    EXPECT(pthread_create(&sender, NULL, send_some, &self) == 0);
    while (hits_b < 50)
        interrupted += poll(NULL, 0, 1000) == -1 && errno == EINTR;
    pthread_join(sender, NULL);
    set(SIGUSR1, on_a, 0, NULL);
    EXPECT(hits_b >= 50 && interrupted > 0);
    printf("ok set_in_handler\n");
}

/* fork and vfork children have their own dispositions. */
static void children(void)
{
    int status;

    hits_a = 0;
    set(SIGUSR1, on_a, 0, NULL);
    pid_t child = fork();

    if (child == 0) {
        struct sigaction old;

        raise(SIGUSR1);
        sigaction(SIGUSR1, NULL, &old);
        signal(SIGUSR1, SIG_DFL);
        _exit(hits_a == 1 && old.sa_handler == on_a ? 0 : 1);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    child = vfork();
    if (child == 0) {
        signal(SIGUSR1, SIG_DFL);
        execl("/bin/true", "true", (char *)NULL);
        _exit(2);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    raise(SIGUSR1);
    EXPECT(hits_a == 1);
    printf("ok children\n");
}

/* A process that reads another's id from the pipe and kills it a little later. */
static pid_t start_killer(int input)
{
    pid_t killer = fork();

    if (killer == 0) {
        char text[16] = { 0 };

        if (read(input, text, sizeof(text) - 1) <= 0)
            _exit(1);
        usleep(2000);
        _exit(kill(atoi(text), SIGKILL) == 0 ? 0 : 1);
    }
    return killer;
}

static pid_t start_victim(int output)
{
    pid_t victim = vfork();

    if (victim == 0) {
        char text[16];
        int length = snprintf(text, sizeof(text), "%d", getpid());

        if (write(output, text, (size_t)length) == length)
            pause();
        _exit(1);
    }
    return victim;
}

/* A child of vfork that dies inside a blocking call leaves its parent running. */
static void killed_child(void)
{
    for (int i = 0; i < 20; i++) {
        int ends[2], status;

        EXPECT(pipe(ends) == 0);
        pid_t killer = start_killer(ends[0]);
        pid_t victim = start_victim(ends[1]);

        close(ends[0]);
        close(ends[1]);
        for (int k = 0; k < 3; k++) {
            if (gc_collect != NULL)
                gc_collect();
            free(malloc(100));
        }
        EXPECT(waitpid(victim, &status, 0) == victim && WIFSIGNALED(status));
        EXPECT(waitpid(killer, &status, 0) == killer && status == 0);
    }
    printf("ok killed_child\n");
}

static void collect_in_handler(int number)
{
    if (gc_collect != NULL)
        gc_collect();
    on_a(number);
}

/* The handler comes wherever the timer will have it, in malloc and free, too, and then cannot wait for a
 * cycle: the sweep may need what was interrupted. */
static void collect_anywhere(void)
{
    enum { TIMES = 100, BLOCKS = 64, LARGE = 40000 };
    static char *blocks[BLOCKS];
    struct itimerval once = { .it_value = { 0, 100 } };
    int begun = -1;

    hits_a = 0;
    set(SIGVTALRM, collect_in_handler, SA_RESTART, NULL);
    for (unsigned i = 0; hits_a < TIMES; i++) {
        if (hits_a != begun) {
            begun = hits_a;
            once.it_value.tv_usec = 100 + hits_a % 7 * 10;
            setitimer(ITIMER_VIRTUAL, &once, NULL);
        }
        free(blocks[i % BLOCKS]);
        blocks[i % BLOCKS] = malloc(LARGE + i % 50 * 4096);
        EXPECT(blocks[i % BLOCKS] != NULL);
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    printf("ok collect_anywhere\n");
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(120);
    query_and_replace();
    errors();
    delivery();
    resethand();
    interrupt();
    change_context();
    alternate_stack();
    small_alternate_stack(0);
    small_alternate_stack(1);
    small_stack_of_one_that_ends();
    shared_alternate_stack();
    many_handlers();
    concurrent();
    set_in_handler();
    children();
    killed_child();
    collect_anywhere();
    return failures != 0;
}
