/*
 * harness -- what every benchmark program shares: options, timing, random numbers, memory size.
 *
 * PURPOSE: each program asks one question about malloc; this file keeps the asking the same, so
 *   that two rows differ only in their question. The programs use plain malloc/free, are built
 *   once, and meet each allocator through LD_PRELOAD.
 * OUTPUT: one line per result, "name unit value". Units: ns or instructions (per
 *   operation), ms, x (a ratio of bytes), MiB, KiB, Mobj/s, MiB/s. Lines that start with '#'
 *   describe the run.
 * INVARIANT: the harness itself never calls malloc between harness_start and harness_finish, so
 *   nothing of it shows in the allocator's behaviour or in its instruction counts.
 *
 * Options: --only=CASE, --scale=F (iterations times F), --reps=N (repetitions in the process, the
 * fastest is reported), --count=N (instructions of N iterations instead of times).
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Before the first member of what one thread of several works with: no other thread's data, and no
 * frame of the main thread's stack, lies on its cache lines (two, as they are fetched in pairs).
 * What false sharing costs is the allocator's to cause, not the program's.
 */
#define HARNESS_APART _Alignas(128)

typedef void harness_body(void *argument, uint64_t iterations);

void harness_start(int argc, char **argv);
void harness_finish(void);

bool harness_wants(const char *name);
bool harness_wants_alone(const char *name);
uint64_t harness_scaled(uint64_t count);
unsigned harness_repetitions(void);
/* For a body of one thread, or of several that never wait for each other: processor time of the
 * process, so that others on the machine matter less. What a collector does beside it counts. */
void harness_time(const char *name, harness_body *body, void *argument, uint64_t iterations,
                  uint64_t operations_per_iteration);
/* For a body of several threads: wall time. */
void harness_time_wall(const char *name, harness_body *body, void *argument, uint64_t iterations,
                       uint64_t operations_per_iteration);
void harness_report(const char *name, const char *unit, double value);

uint64_t harness_now_ns(void);
uint64_t harness_cpu_ns(void);
uint64_t harness_rss_bytes(void);
void harness_sleep_ms(unsigned milliseconds);
void harness_die(const char *what);

/* A block must look used to the compiler and to the page tables: one byte is written. */
static inline void harness_touch(void *block)
{
    *(volatile char *)block = 1;
}

/* A failed allocation would make every later number meaningless: stop at once. */
static inline void *harness_use(void *block)
{
    if (__builtin_expect(block == NULL, 0))
        harness_die("out of memory");
    harness_touch(block);
    return block;
}

/* xorshift64*: good enough to scatter slots, cheap enough not to be what is measured. */
static inline uint64_t harness_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(2685821657736338717);
}

/* A number below bound, without a division. */
static inline uint32_t harness_random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)(((harness_random(state) >> 32) * bound) >> 32);
}

/*
 * harness_random_size -- a size between low and high, log-uniform: each doubling equally likely.
 * Programs ask for many small blocks and few large ones; a uniform choice would be nearly all
 * large. Within a doubling the size is uniform.
 */
static inline size_t harness_random_size(uint64_t *state, size_t low, size_t high)
{
    unsigned doublings = 63 - (unsigned)__builtin_clzll(high / low);
    size_t floor_size = low << harness_random_below(state, doublings);
    return floor_size + harness_random_below(state, (uint32_t)floor_size);
}

#endif
