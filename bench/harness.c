/* See harness.h. */
#define _GNU_SOURCE
#include "harness.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Written by harness_start only, before any thread exists; constant afterwards. */
static struct {
    const char *only;
    double scale;
    uint64_t counted_iterations;
    unsigned repetitions;
} options = {.scale = 1.0, .repetitions = 3};

static char output_buffer[1 << 16];

void harness_die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static void option_parse(const char *argument)
{
    if (strncmp(argument, "--only=", 7) == 0)
        options.only = argument + 7;
    else if (strncmp(argument, "--scale=", 8) == 0)
        options.scale = strtod(argument + 8, NULL);
    else if (strncmp(argument, "--count=", 8) == 0)
        options.counted_iterations = strtoull(argument + 8, NULL, 10);
    else if (strncmp(argument, "--reps=", 7) == 0)
        options.repetitions = (unsigned)strtoul(argument + 7, NULL, 10);
    else
        harness_die("unknown option");
}

/* Says which library answers malloc: a preload that did not take would otherwise go unnoticed. */
static void provider_report(void)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "malloc");
    if (symbol != NULL && dladdr(symbol, &info) != 0)
        printf("# malloc %s\n", info.dli_fname);
}

void harness_start(int argc, char **argv)
{
    setvbuf(stdout, output_buffer, _IOFBF, sizeof output_buffer);
    for (int i = 1; i < argc; i++)
        option_parse(argv[i]);
    provider_report();
}

bool harness_wants(const char *name)
{
    return options.only == NULL || strcmp(options.only, name) == 0;
}

/* For cases that are no answer by themselves and run only when asked for by name. */
bool harness_wants_alone(const char *name)
{
    return options.only != NULL && strcmp(options.only, name) == 0;
}

uint64_t harness_scaled(uint64_t count)
{
    uint64_t scaled = (uint64_t)((double)count * options.scale);
    return scaled == 0 ? 1 : scaled;
}

unsigned harness_repetitions(void)
{
    return options.repetitions;
}

void harness_report(const char *name, const char *unit, double value)
{
    printf("%s %s %.6g\n", name, unit, value);
}

/*
 * Counting instructions: the processor's trap flag makes every instruction of this thread end in
 * SIGTRAP, whose handler counts. Exact, and it works with every allocator; instructions of the
 * kernel are not seen, and each repetition of a string instruction is one.
 */
static volatile uint64_t trap_count;

static void trap_handler(int signal)
{
    (void)signal;
    trap_count++;
}

enum { TRAP_FLAG = 0x100 };

/* The 128 bytes below the stack pointer may be in use by the caller. */
static void trap_flag_set(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq;"
                     "lea 128(%%rsp), %%rsp" : : "i"(TRAP_FLAG) : "memory", "cc");
}

static void trap_flag_clear(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq;"
                     "lea 128(%%rsp), %%rsp" : : "i"(~TRAP_FLAG) : "memory", "cc");
}

static uint64_t body_traps(harness_body *body, void *argument, uint64_t iterations)
{
    trap_count = 0;
    trap_flag_set();
    body(argument, iterations);
    trap_flag_clear();
    return trap_count;
}

/*
 * Reports instructions per operation: the difference between some iterations and twice as many,
 * so that what a call of the body costs once cancels out. The first call warms up.
 */
static void body_count(const char *name, harness_body *body, void *argument, double operations)
{
    uint64_t iterations = options.counted_iterations;
    struct sigaction action = {.sa_handler = trap_handler};
    if (sigaction(SIGTRAP, &action, NULL) != 0)
        harness_die("sigaction failed");
    body(argument, iterations);
    double few = (double)body_traps(body, argument, iterations);
    double many = (double)body_traps(body, argument, 2 * iterations);
    harness_report(name, "instructions", (many - few) / ((double)iterations * operations));
}

/*
 * body_time -- runs body repeatedly and reports the fastest repetition in ns per operation.
 * The fastest, because what disturbs a run (another process, a migration) only ever adds time.
 * With --count instructions are counted instead.
 */
static void body_time(const char *name, harness_body *body, void *argument, uint64_t iterations,
                      uint64_t operations_per_iteration, uint64_t (*clock_ns)(void))
{
    if (!harness_wants(name))
        return;
    if (options.counted_iterations != 0) {
        body_count(name, body, argument, (double)operations_per_iteration);
        return;
    }
    uint64_t count = harness_scaled(iterations);
    uint64_t best_ns = UINT64_MAX;
    body(argument, count / 8 + 1);
    for (unsigned i = 0; i < options.repetitions; i++) {
        uint64_t start_ns = clock_ns();
        body(argument, count);
        uint64_t elapsed_ns = clock_ns() - start_ns;
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    double operations = (double)count * (double)operations_per_iteration;
    harness_report(name, "ns", (double)best_ns / operations);
}

void harness_time(const char *name, harness_body *body, void *argument, uint64_t iterations,
                  uint64_t operations_per_iteration)
{
    body_time(name, body, argument, iterations, operations_per_iteration, harness_cpu_ns);
}

void harness_time_wall(const char *name, harness_body *body, void *argument, uint64_t iterations,
                       uint64_t operations_per_iteration)
{
    body_time(name, body, argument, iterations, operations_per_iteration, harness_now_ns);
}

static uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

uint64_t harness_now_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}

/* CPU time of all threads of the process. */
uint64_t harness_cpu_ns(void)
{
    return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void harness_sleep_ms(unsigned milliseconds)
{
    struct timespec left = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

/* Reads a small /proc file without stdio: opening a FILE would allocate. */
static void proc_read(const char *path, char *text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        harness_die(path);
    ssize_t got = read(fd, text, text_bytes - 1);
    close(fd);
    text[got < 0 ? 0 : got] = '\0';
}

uint64_t harness_rss_bytes(void)
{
    char text[256];
    proc_read("/proc/self/statm", text, sizeof text);
    const char *resident = strchr(text, ' ');
    if (resident == NULL)
        harness_die("/proc/self/statm is malformed");
    return strtoull(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/*
 * harness_finish -- reports the peak RSS and writes everything out. VmHWM, not getrusage: the
 * latter also remembers the size of the process that forked us.
 */
void harness_finish(void)
{
    char text[8192];
    proc_read("/proc/self/status", text, sizeof text);
    const char *line = strstr(text, "VmHWM:");
    if (line == NULL)
        harness_die("/proc/self/status has no VmHWM");
    harness_report("peak_rss", "MiB", (double)strtoull(line + 6, NULL, 10) / 1024);
    if (fflush(stdout) != 0)
        harness_die("cannot write the results");
}
