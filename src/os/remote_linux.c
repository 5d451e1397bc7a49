/* remote_linux.c -- see remote.h */
#include "os/remote.h"

#include <errno.h>
#include <sys/uio.h>

#include "base/sys.h"

void remote_open(struct remote *remote)
{
    remote->tid = sys_gettid();
    remote->mem = -1;
    remote->no_readv = false;
}

void remote_close(struct remote *remote)
{
    if (remote->mem >= 0)
        sys_close(remote->mem);
    remote->mem = -1;
}

long remote_read_forced(struct remote *remote, void *to, uintptr_t from, size_t bytes)
{
    long got;

    if (remote->mem < 0)
        remote->mem = sys_open_read("/proc/thread-self/mem");
    if (remote->mem < 0)
        return REMOTE_REFUSED;
    do
        got = sys_call4(SYS_pread64, remote->mem, (long)to, (long)bytes, (long)from);
    while (got == -EINTR);
    return got < 0 ? 0 : got;
}

long remote_read(struct remote *remote, void *to, uintptr_t from, size_t bytes)
{
    struct iovec local = { to, bytes };
    struct iovec other = { (void *)from, bytes };

    if (!remote->no_readv) {
        long got = sys_call6(SYS_process_vm_readv, remote->tid, (long)&local, 1, (long)&other, 1,
                             0);

        if (got >= 0)
            return got;
        if (got == -EFAULT)
            return 0;
        if (got == -ENOMEM)
            return REMOTE_NO_MEMORY;
        remote->no_readv = true;        /* ENOSYS, EPERM: not built in, or a seccomp filter */
    }
    return remote_read_forced(remote, to, from, bytes);
}
