/* test_host.c -- os/host.h: memory limits of control groups, from trees of files that are made up
 *
 * PURPOSE  Version 1, version 2, both; containers with and without a namespace of their own; files that
 *          are missing, say "max", or make no sense.
 */
#define _GNU_SOURCE
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "os/host.h"

#define NONE UINT64_MAX
#define V2_MOUNT "31 23 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNT                                                                \
    "40 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"       \
    "41 31 0:31 / /sys/fs/cgroup/memory rw shared:7 master:2 - cgroup cgroup rw,memory\n"
#define OTHER_MOUNTS                                                            \
    "23 1 254:0 / / rw,relatime - ext4 /dev/root rw\n"                          \
    "30 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"

static char root[64];

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static void clear(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    mkdir(root, 0700);
}

/* Makes the file, and what it lies in. */
static void put(const char *name, const char *text)
{
    char path[4096];

    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void begin(const char *groups, const char *mounts)
{
    clear();
    put("/proc/self/cgroup", groups);
    put("/proc/self/mountinfo", mounts);
}

static uint64_t found(void)
{
    return host_cgroup_bytes(root);
}

static void nothing_to_read_is_no_limit(void **state)
{
    (void)state;
    clear();
    assert_true(found() == NONE);
    put("/proc/self/cgroup", "0::/a\n");
    assert_true(found() == NONE);
    put("/proc/self/mountinfo", OTHER_MOUNTS);
    assert_true(found() == NONE);
    put("/proc/self/mountinfo", V2_MOUNT);
    assert_true(found() == NONE);
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    assert_true(found() == NONE);
    begin("", "");
    assert_true(found() == NONE);
}

static void version_2_takes_the_least_of_all_above(void **state)
{
    (void)state;
    begin("0::/user.slice/app/worker\n", OTHER_MOUNTS V2_MOUNT);
    put("/sys/fs/cgroup/user.slice/app/worker/memory.max", "max\n");
    put("/sys/fs/cgroup/user.slice/app/memory.max", "1000000\n");
    assert_int_equal(found(), 1000000);
    put("/sys/fs/cgroup/user.slice/memory.max", "900000\n");
    assert_int_equal(found(), 900000);
    put("/sys/fs/cgroup/memory.max", "800000");
    assert_int_equal(found(), 800000);
    put("/sys/fs/cgroup/user.slice/app/worker/memory.max", "700000\n");
    assert_int_equal(found(), 700000);
    put("/sys/fs/cgroup/user.slice/app/memory.high", "600000\n");
    assert_int_equal(found(), 600000);
    put("/sys/fs/cgroup/user.slice/app/worker/sub/memory.max", "1\n");  /* below us */
    put("/sys/fs/cgroup/user/memory.max", "1\n");                       /* a name's beginning */
    put("/sys/fs/memory.max", "1\n");                                   /* above the mount */
    assert_int_equal(found(), 600000);
}

static void version_1_has_its_own_names(void **state)
{
    (void)state;
    begin("9:name=systemd:/\n5:memory:/box/one\n1:cpu,cpuacct:/cpus\n0::/\n", OTHER_MOUNTS V1_MOUNT);
    put("/sys/fs/cgroup/memory/box/one/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/cpu/cpus/memory.limit_in_bytes", "3\n");
    assert_true(found() == NONE);
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "268435456\n");
    assert_int_equal(found(), 268435456);
    put("/sys/fs/cgroup/memory/box/one/memory.max", "5\n");
    assert_int_equal(found(), 268435456);
}

static void controllers_may_share_a_hierarchy(void **state)
{
    (void)state;
    begin("5:cpuset,memory:/x\n", "41 31 0:31 / /cg rw - cgroup none rw,cpuset,memory\n");
    put("/cg/x/memory.limit_in_bytes", "4096000\n");
    assert_int_equal(found(), 4096000);
    begin("5:memoryless,cpu:/x\n", "41 31 0:31 / /cg rw - cgroup none rw,memory\n");
    put("/cg/x/memory.limit_in_bytes", "4096000\n");
    assert_true(found() == NONE);
}

static void both_versions_count_when_mixed(void **state)
{
    (void)state;
    begin("4:memory:/m\n0::/u\n",
          OTHER_MOUNTS V1_MOUNT "42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n");
    put("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "5000000\n");
    assert_int_equal(found(), 5000000);
    put("/sys/fs/cgroup/unified/u/memory.max", "4000000\n");
    assert_int_equal(found(), 4000000);
    put("/sys/fs/cgroup/unified/u/memory.max", "max\n");
    assert_int_equal(found(), 5000000);
}

static void a_container_sees_its_own_group_mounted(void **state)
{
    (void)state;
    /* The host's names, and only the container's group mounted. */
    begin("4:memory:/docker/0123/task\n",
          "41 31 0:31 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000000\n");
    assert_int_equal(found(), 7000000);
    put("/sys/fs/cgroup/memory/task/memory.limit_in_bytes", "6000000\n");
    assert_int_equal(found(), 6000000);
    /* A namespace of its own: the root is the container's group. */
    begin("0::/\n", V2_MOUNT);
    put("/sys/fs/cgroup/memory.max", "5000000\n");
    assert_int_equal(found(), 5000000);
    /* Moved out of the namespace's root, or mounted from elsewhere: the nearest that can be seen. */
    begin("0::/../other\n", V2_MOUNT);
    put("/sys/fs/cgroup/memory.max", "5000000\n");
    put("/sys/fs/memory.max", "1\n");
    assert_int_equal(found(), 5000000);
    begin("0::/docker/012345\n", "31 23 0:28 /docker/0123 /cg rw - cgroup2 cgroup2 rw\n");
    put("/cg/memory.max", "5000000\n");
    put("/cg45/memory.max", "1\n");
    assert_int_equal(found(), 5000000);
}

static void the_mount_that_holds_the_group_is_taken(void **state)
{
    (void)state;
    begin("0::/a/b\n", "30 23 0:28 /z /cg1 rw - cgroup2 none rw\n"
                       "31 23 0:28 /a /cg2 rw - cgroup2 none rw\n"
                       "32 23 0:28 / /cg3 rw - cgroup2 none rw\n");
    put("/cg1/memory.max", "1\n");
    put("/cg2/b/memory.max", "2000000\n");
    put("/cg3/memory.max", "3\n");
    assert_int_equal(found(), 2000000);
}

static void names_may_be_odd(void **state)
{
    static char mounts[20000];

    (void)state;
    begin("0::/a b:c/d\n", "31 23 0:28 / /odd\\040place rw - cgroup2 none rw\n");
    put("/odd place/a b:c/d/memory.max", "2000000\n");
    assert_int_equal(found(), 2000000);
    /* A line longer than any buffer, before the one that counts. */
    memset(mounts, 'x', 12000);
    memcpy(mounts, "29 23 0:27 / /over rw - overlay overlay lowerdir=", 49);
    strcpy(mounts + 12000, "\n" V2_MOUNT);
    begin("0::/\n", mounts);
    put("/sys/fs/cgroup/memory.max", "3000000\n");
    assert_int_equal(found(), 3000000);
}

static void nonsense_is_no_limit(void **state)
{
    static const char *const values[] = { "", "\n", "-1\n", "12x\n", "0\n", "99999999999999999999999\n",
                                          "18446744073709551615\n", " 5\n", "0x10\n" };
    static char group[9000];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        begin("0::/a\n", V2_MOUNT);
        put("/sys/fs/cgroup/a/memory.max", values[i]);
        put("/sys/fs/cgroup/memory.max", "6000000\n");
        assert_int_equal(found(), 6000000);
    }
    memset(group, 'g', sizeof group - 1);
    memcpy(group, "0::/", 4);
    begin(group, V2_MOUNT);
    assert_true(found() == NONE);
    begin("junk\n0:\n::::\n0::relative\n4:memory\n", "junk\n1 2 3\n - cgroup2\n" V2_MOUNT);
    assert_true(found() == NONE);
}

/* Of this machine, whatever it is. */
static void the_automatic_limit_is_below_what_is_there(void **state)
{
    struct rlimit limit, less = { .rlim_cur = 400 * MIB };

    (void)state;
    int64_t before = host_auto_limit();

    assert_true(before > 0);
    assert_true(before == INT64_MAX || (uint64_t)before <= host_physical_bytes());
    getrlimit(RLIMIT_DATA, &limit);
    less.rlim_max = limit.rlim_max;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < less.rlim_cur) {
        print_message("SKIP host_auto_limit with RLIMIT_DATA: it is limited to less already\n");
        return;
    }
    setrlimit(RLIMIT_DATA, &less);
    assert_true(host_auto_limit() <= (int64_t)(360 * MIB));
    assert_true(host_auto_limit() > (int64_t)(359 * MIB) || before < (int64_t)(360 * MIB));
    setrlimit(RLIMIT_DATA, &limit);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_host.XXXXXX");
    return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
    (void)state;
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_to_read_is_no_limit),
        cmocka_unit_test(version_2_takes_the_least_of_all_above),
        cmocka_unit_test(version_1_has_its_own_names),
        cmocka_unit_test(controllers_may_share_a_hierarchy),
        cmocka_unit_test(both_versions_count_when_mixed),
        cmocka_unit_test(a_container_sees_its_own_group_mounted),
        cmocka_unit_test(the_mount_that_holds_the_group_is_taken),
        cmocka_unit_test(names_may_be_odd),
        cmocka_unit_test(nonsense_is_no_limit),
        cmocka_unit_test(the_automatic_limit_is_below_what_is_there),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
