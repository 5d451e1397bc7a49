# PURPOSE: what single-threaded programs may rely on after collections: unshare of a user namespace,
#   setuid and no_new_privs for all tasks, mlockall, vfork, chroot, an undumpable process.
NEEDS="gcc"
STRESS=32
MODES="preload stress manual"

prepare() { compile "$IN/privileges" privileges.c; }

run() { "$IN/privileges"; }
