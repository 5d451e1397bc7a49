/* userfault_linux.c -- see userfault.h
 *
 * The definitions are our own: linux/userfaultfd.h has them since 6.7 only.
 */
#include "os/userfault.h"

#include "base/sys.h"

struct api_argument { uint64_t api, features, ioctls; };
struct register_argument { uint64_t start, bytes, mode, ioctls; };
struct protect_argument { uint64_t start, bytes, mode; };

#define API_REQUEST 0xc018aa3ful        /* UFFDIO_API */
#define REGISTER_REQUEST 0xc020aa00ul   /* UFFDIO_REGISTER */
#define PROTECT_REQUEST 0xc018aa06ul    /* UFFDIO_WRITEPROTECT */
#define API_VERSION 0xaaul
#define MODE_WRITE_PROTECT ((uint64_t)1 << 1)
#define FEATURE_UNPOPULATED ((uint64_t)1 << 13)
#define FEATURE_ASYNC ((uint64_t)1 << 15)

enum {
    OPEN_FLAGS = 02000000 | 04000 | 1,  /* O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY */
};

_Static_assert(sizeof(struct api_argument) == 24 && sizeof(struct register_argument) == 32 &&
                   sizeof(struct protect_argument) == 24,
               "the request numbers encode the sizes");

bool userfault_open(struct userfault *userfault)
{
    struct api_argument api = {
        .api = API_VERSION, .features = FEATURE_ASYNC | FEATURE_UNPOPULATED,
    };

    userfault->fd = (int)sys_call1(SYS_userfaultfd, OPEN_FLAGS);
    if (userfault->fd < 0) {
        userfault->fd = -1;
        return false;
    }
    if (sys_call3(SYS_ioctl, userfault->fd, (long)API_REQUEST, (long)&api) == 0)
        return true;
    userfault_close(userfault);
    return false;
}

void userfault_close(struct userfault *userfault)
{
    if (userfault->fd >= 0)
        sys_close(userfault->fd);
    userfault->fd = -1;
}

long userfault_register(struct userfault *userfault, uintptr_t low, uintptr_t high)
{
    struct register_argument argument = {
        .start = low, .bytes = high - low, .mode = MODE_WRITE_PROTECT,
    };

    return sys_call3(SYS_ioctl, userfault->fd, (long)REGISTER_REQUEST, (long)&argument);
}

long userfault_disarm(struct userfault *userfault, uintptr_t low, uintptr_t high)
{
    struct protect_argument argument = { .start = low, .bytes = high - low, .mode = 0 };

    return sys_call3(SYS_ioctl, userfault->fd, (long)PROTECT_REQUEST, (long)&argument);
}
