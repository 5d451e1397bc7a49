/* test_roots_tracking.c -- which root mappings are registered, and that no mapping is split by it
 *
 * See running_roots.h for how, and needles.h for what to link with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/procmap.h"
#include "running_roots.h"

/* ------------------------------------------------------------------- registration */

/* Mappings that do not touch, of so many pages, all written; [0] is the first. */
static char *map_apart(size_t count, size_t pages)
{
    char *memory = map_written(count * 2 * pages);

    for (size_t i = 0; i < count; i++)
        munmap(memory + (2 * i + 1) * pages * 4096, pages * 4096);
    return memory;
}

static void few_are_registered_in_one_stop(void **state)
{
    enum { COUNT = 500, PAGES = 8 };

    (void)state;
    assert_true(roots_gather());
    assert_true(register_mappings(&userfault, 100));
    char *memory = map_apart(COUNT, PAGES), *large = map_written(4096);

    assert_false(register_mappings(&userfault, 1));
    begin();
    assert_true(visit());
    assert_in_range(bytes_seen, COUNT / 2 * PAGES * 4096, 16 << 20);    /* the large one first */
    assert_true(register_mappings(&userfault, 20));
    begin();
    assert_true(visit());
    assert_true(bytes_seen < COUNT / 2 * PAGES * 4096);
    munmap(memory, (size_t)COUNT * 2 * PAGES * 4096);
    munmap(large, 4096 * 4096);
}

/* Reads the list of mappings in the stop, as on Linux 6.7.  0: all is well. */
static int register_without_queries(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xc0686611, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTTY),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };
    struct procmap procmap;

    userfault_close(&userfault);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0 || !userfault_open(&userfault))
        return 2;
    if (procmap_open(&procmap))
        return 3;
    if (map_written(4096) == NULL || !roots_gather() || !register_mappings(&userfault, 20))
        return 4;
    roots_visit_running(&userfault, look, NULL);
    return visit() && bytes_seen < 4 << 20 ? 0 : 5;
}

static void an_older_kernel_lists_its_mappings(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        alarm(20);
        _exit(register_without_queries());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ------------------------------------------------------------------- a program that remaps */

enum { PLOTS = 12, PLOT_PAGES = 40 };

/* Only its owner's thread looks at it: each was mapped by one call, and moves as one. */
static struct plot { char *memory; size_t pages; } plots[PLOTS];
static const char *remap_failure;
static unsigned remaps;         /* atomic */

static void note_remap(struct plot *plot, char *memory, size_t pages, const char *what)
{
    fetch_add_relaxed(&remaps, 1);
    if (memory == MAP_FAILED) {
        store_relaxed(&remap_failure, what);
        return;
    }
    plot->memory = memory;
    plot->pages = pages;
}

static void move_plot(struct plot *plot, const char *what)
{
    size_t bytes = plot->pages * 4096;
    char *target = map_pages(plot->pages, MAP_PRIVATE);

    note_remap(plot, mremap(plot->memory, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target),
               plot->pages, what);
}

static void resize_plot(struct plot *plot, size_t pages)
{
    note_remap(plot, mremap(plot->memory, plot->pages * 4096, pages * 4096, MREMAP_MAYMOVE), pages,
               "resize");
    memset(plot->memory, 1, plot->pages * 4096);
}

/* There may be a stop while a part of it is another mapping. */
static void protect_plot(struct plot *plot, unsigned random)
{
    char *part = plot->memory + random % plot->pages * 4096;

    mprotect(part, 4096, PROT_NONE);
    program_may_go_on();
    mprotect(part, 4096, PROT_READ | PROT_WRITE);
    move_plot(plot, "move after mprotect");
}

static void replace_plot(struct plot *plot, size_t pages)
{
    if (plot->memory != NULL)
        munmap(plot->memory, plot->pages * 4096);
    plot->memory = map_written(pages);
    plot->pages = pages;
}

static void *remap(void *unused)
{
    unsigned random = 4711;

    (void)unused;
    for (int i = 0; i < PLOTS; i++)
        replace_plot(&plots[i], 8);
    while (program_may_go_on()) {
        if (remap_failure != NULL)
            continue;
        random = random * 1664525 + 1013904223;
        struct plot *plot = &plots[(random >> 8) % PLOTS];
        size_t pages = 1 + (random >> 16) % PLOT_PAGES;

        switch (random >> 28 & 3) {
        case 0: replace_plot(plot, pages); break;
        case 1: resize_plot(plot, pages); break;
        case 2: protect_plot(plot, random >> 16); break;
        default: move_plot(plot, "move");
        }
    }
    return NULL;
}

static void no_mapping_of_the_program_is_split(void **state)
{
    enum { CYCLES = 100, REMAPS = 20000 };
    pthread_t thread;
    int cycles = 0;

    (void)state;
    remap_failure = NULL;
    thread = start_program(remap);
    while (cycles < CYCLES || load_relaxed(&remaps) < REMAPS) {
        begin();
        roots_visit_written(look, NULL);
        cycles++;
        if (load_relaxed(&remap_failure) != NULL)
            break;
    }
    end_program(thread);
    if (remap_failure != NULL)
        fail_msg("cycle %d: mremap failed: %s", cycles, remap_failure);
    for (int i = 0; i < PLOTS; i++)
        munmap(plots[i].memory, plots[i].pages * 4096);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(few_are_registered_in_one_stop, setup),
    cmocka_unit_test_setup(an_older_kernel_lists_its_mappings, setup),
    cmocka_unit_test_setup(no_mapping_of_the_program_is_split, setup),
};

int main(void)
{
    return run_tracked("test_roots_tracking", tests, sizeof tests / sizeof tests[0]);
}
