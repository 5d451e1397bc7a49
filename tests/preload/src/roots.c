/* PURPOSE: heap blocks whose only pointer is in one odd place: epoll data, timer values,
 * thread-specific data, dynamic TLS, a private mapping, the brk heap, a loaded plugin, another
 * thread's registers and stack, the middle of a block, one past its end. */
#define _GNU_SOURCE
#include "blocks.h"
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { N = 200 };

/* A place puts blocks 0..N-1 away and gives them back. */
struct place {
    const char *name;
    void (*put)(unsigned i, struct block *b);
    struct block *(*get)(unsigned i);
};

static int epoll_fd;
static int event_fds[N];

static void epoll_put(unsigned i, struct block *b)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = b};

    event_fds[i] = eventfd(0, EFD_NONBLOCK);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fds[i], &e);
}

static struct block *epoll_get(unsigned i)
{
    struct epoll_event e = {0};

    eventfd_write(event_fds[i], 1);
    if (epoll_wait(epoll_fd, &e, 1, 1000) != 1)
        return NULL;
    close(event_fds[i]);
    return e.data.ptr;
}

static timer_t timers[N];

static void timer_put(unsigned i, struct block *b)
{
    struct sigevent e = {
        .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_ptr = b};

    timer_create(CLOCK_MONOTONIC, &e, &timers[i]);
}

static struct block *timer_get(unsigned i)
{
    struct itimerspec soon = {.it_value.tv_nsec = 1};
    sigset_t set;
    siginfo_t info = {0};

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    timer_settime(timers[i], 0, &soon, NULL);
    sigwaitinfo(&set, &info);
    timer_delete(timers[i]);
    return info.si_value.sival_ptr;
}

static pthread_key_t keys[N];

static void key_put(unsigned i, struct block *b)
{
    pthread_key_create(&keys[i], NULL);
    pthread_setspecific(keys[i], b);
}

static struct block *key_get(unsigned i)
{
    return pthread_getspecific(keys[i]);
}

static struct block **mapping;

static void map_put(unsigned i, struct block *b)
{
    mapping[i] = b;
}

static struct block *map_get(unsigned i)
{
    return mapping[i];
}

static struct block **broken;

static void brk_put(unsigned i, struct block *b)
{
    broken[i] = b;
}

static struct block *brk_get(unsigned i)
{
    return broken[i];
}

static _Thread_local struct block *in_tls[N];

static void tls_put(unsigned i, struct block *b)
{
    in_tls[i] = b;
}

static struct block *tls_get(unsigned i)
{
    return in_tls[i];
}

static struct block **plugin_data;
static struct block **(*plugin_tls)(void);

static void plugin_data_put(unsigned i, struct block *b)
{
    plugin_data[i] = b;
}

static struct block *plugin_data_get(unsigned i)
{
    return plugin_data[i];
}

static void plugin_tls_put(unsigned i, struct block *b)
{
    plugin_tls()[i] = b;
}

static struct block *plugin_tls_get(unsigned i)
{
    return plugin_tls()[i];
}

static char *inside[N];

static void middle_put(unsigned i, struct block *b)
{
    inside[i] = (char *)b + 9 + i % 17;
}

static struct block *middle_get(unsigned i)
{
    return (struct block *)(inside[i] - 9 - i % 17);
}

static uintptr_t tagged[N];

static void tag_put(unsigned i, struct block *b)
{
    tagged[i] = (uintptr_t)b | (uintptr_t)(i + 1) << 48 | (i & 7);
}

static struct block *tag_get(unsigned i)
{
    return (struct block *)(tagged[i] & 0xfffffffffff8);
}

static struct block ***nested;

static void nested_put(unsigned i, struct block *b)
{
    nested[i] = malloc(sizeof b);
    *nested[i] = b;
}

static struct block *nested_get(unsigned i)
{
    return *nested[i];
}

static const struct place places[] = {
    {"epoll data", epoll_put, epoll_get},
    {"timer values", timer_put, timer_get},
    {"thread-specific data", key_put, key_get},
    {"a private mapping", map_put, map_get},
    {"the brk heap", brk_put, brk_get},
    {"thread-local variables", tls_put, tls_get},
    {"data of a plugin", plugin_data_put, plugin_data_get},
    {"thread-local variables of a plugin", plugin_tls_put, plugin_tls_get},
    {"pointers to the middle", middle_put, middle_get},
    {"tagged pointers", tag_put, tag_get},
    {"another block", nested_put, nested_get},
};

static void *try_all(void *arg)
{
    sigset_t set;

    (void)arg;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++)
        for (unsigned i = 0; i < N; i++)
            places[p].put(i, block_make(i * 11 + (unsigned)p));
    churn(4096);
    for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
        int good = 0;

        for (unsigned i = 0; i < N; i++) {
            struct block *b = places[p].get(i);

            good += b && block_check(b, i * 11 + (unsigned)p);
            free(b);
        }
        printf("%s: %d of %d\n", places[p].name, good, N);
    }
    return NULL;
}

static int parked;

/* Holds its blocks on its stack only, with every signal blocked, until the others are done. */
static void *sit(void *arg)
{
    struct block *held[N];
    sigset_t all;
    intptr_t good = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (unsigned i = 0; i < N; i++)
        held[i] = block_make(i);
    __atomic_fetch_add(&parked, 1, __ATOMIC_RELEASE);
    pthread_barrier_wait(arg);
    for (unsigned i = 0; i < N; i++) {
        good += block_check(held[i], i);
        free(held[i]);
    }
    return (void *)good;
}

static void open_places(const char *plugin)
{
    void *handle = dlopen(plugin, RTLD_NOW);

    if (!handle) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    plugin_data = dlsym(handle, "plugin_data");
    plugin_tls = (struct block **(*)(void))dlsym(handle, "plugin_tls");
    epoll_fd = epoll_create1(0);
    mapping = mmap(NULL, N * sizeof *mapping, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    broken = sbrk(N * sizeof *broken);
    nested = malloc(N * sizeof *nested);
}

int main(int argc, char **argv)
{
    pthread_barrier_t barrier;
    pthread_t sitters[4];
    pthread_t other;

    if (argc != 2)
        return 2;
    open_places(argv[1]);
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++)
        pthread_create(&sitters[i], NULL, sit, &barrier);
    while (__atomic_load_n(&parked, __ATOMIC_ACQUIRE) < 4)
        usleep(1000);
    try_all(NULL);
    puts("and in a second thread");
    pthread_create(&other, NULL, try_all, NULL);
    pthread_join(other, NULL);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 4; i++) {
        void *good;

        pthread_join(sitters[i], &good);
        printf("stack of a thread: %d of %d\n", (int)(intptr_t)good, N);
    }
    return 0;
}
