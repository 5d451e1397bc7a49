/* cancelled_groups.c -- see cancelled.c */
#define _GNU_SOURCE
#include <grp.h>
#include <poll.h>
#include <stddef.h>

int initgroups_waits;

int initgroups(const char *user, gid_t group)
{
    (void)user;
    (void)group;
    __atomic_store_n(&initgroups_waits, 1, __ATOMIC_SEQ_CST);
    return poll(NULL, 0, -1);
}
