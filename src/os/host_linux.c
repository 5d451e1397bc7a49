/* host_linux.c -- see host.h */
#include "os/host.h"

#include <cpuid.h>
#include <errno.h>
#include <sys/auxv.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/atomics.h"
#include "base/bits.h"
#include "base/sys.h"
#include "os/vdso.h"

typedef int (*clock_reader)(clockid_t clock, struct timespec *time);

static AT_START clock_reader reader;    /* atomic, relaxed: every writer stores the same */

static int read_by_call(clockid_t clock, struct timespec *time)
{
    return (int)sys_call2(SYS_clock_gettime, clock, (long)time);
}

static COLD clock_reader find_reader(void)
{
    clock_reader found = (clock_reader)vdso_find("__vdso_clock_gettime");

    if (found == NULL)
        found = read_by_call;
    store_relaxed(&reader, found);
    return found;
}

static void read_clock(clockid_t clock, struct timespec *time)
{
    clock_reader found = load_relaxed(&reader);

    if (UNLIKELY(found == NULL))
        found = find_reader();
    found(clock, time);
}

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_nsec;
}

uint64_t host_clock_ns(void)
{
    struct timespec now = { 0, 0 };

    read_clock(CLOCK_MONOTONIC, &now);
    return nanoseconds(&now);
}

uint64_t host_clock_coarse_ms(void)
{
    struct timespec now;

    read_clock(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t raw_clock_ns(clockid_t clock)
{
    struct timespec now = { 0, 0 };

    sys_call2(SYS_clock_gettime, clock, (long)&now);
    return nanoseconds(&now);
}

uint64_t host_thread_cpu_ns(void)
{
    return raw_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t host_process_cpu_ns(void)
{
    return raw_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

unsigned host_cpus(void)
{
    uint64_t mask[1024 / 8];        /* 8192 processors, the most Linux can be built for */
    long bytes = sys_call3(SYS_sched_getaffinity, 0, sizeof mask, (long)mask);
    unsigned cpus = 0;

    for (long i = 0; i < bytes / 8; i++)
        cpus += count_bits(mask[i]);
    return cpus == 0 ? 1 : cpus;
}

static unsigned read_number(const char **text)
{
    unsigned number = 0;

    for (; **text >= '0' && **text <= '9' && number < 100000; ++*text)
        number = number * 10 + (unsigned)(**text - '0');
    return number;
}

bool host_kernel_is(unsigned major, unsigned minor)
{
    struct utsname names;
    const char *at = names.release;

    if (sys_call1(SYS_uname, (long)&names) != 0)
        return false;
    unsigned first = read_number(&at);

    if (*at != '.')
        return false;
    at++;
    return first > major || (first == major && read_number(&at) >= minor);
}

uint64_t host_physical_bytes(void)
{
    struct sysinfo info;

    if (sys_call1(SYS_sysinfo, (long)&info) != 0)
        return 0;
    return (uint64_t)info.totalram * info.mem_unit;
}

bool host_swap_in_use(void)
{
    struct sysinfo info;

    return sys_call1(SYS_sysinfo, (long)&info) != 0 || info.totalswap != info.freeswap;
}

enum {
    AUX_MINSIGSTKSZ = 51,
    EXTENDED_STATES = 0xd,              /* of CPUID: EBX is the size of the registers that XSAVE saves */
    FRAME_REST = 1024,
};

/* Before Linux 5.14 the kernel does not say. */
size_t host_signal_frame_bytes(void)
{
    int saved = errno;
    size_t told = getauxval(AUX_MINSIGSTKSZ);
    unsigned a = 0, b = 0, c = 0, d = 0;

    errno = saved;
    if (told != 0)
        return told;
    __get_cpuid_count(EXTENDED_STATES, 0, &a, &b, &c, &d);
    return max_size(b, 512) + FRAME_REST;
}

/* CPUID traps in a virtual machine and takes tens of microseconds there: ask once. */
static bool have_keys(void)
{
    static int answer;              /* atomic, relaxed: 0 not asked, 1 no, 2 yes */
    int known = load_relaxed(&answer);

    if (known == 0) {
        unsigned a = 0, b = 0, c = 0, d = 0;

        known = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (c & bit_OSPKE) != 0 ? 2 : 1;
        store_relaxed(&answer, known);
    }
    return known == 2;
}

static void write_keys(uint32_t value)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(value), "c"(0), "d"(0) : "memory");
}

uint32_t host_open_keys(void)
{
    uint32_t saved = 0, ignored;

    if (have_keys()) {
        __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(saved), "=d"(ignored) : "c"(0));
        if (saved != 0)
            write_keys(0);
    }
    return saved;
}

void host_restore_keys(uint32_t saved)
{
    if (saved != 0)
        write_keys(saved);
}
