/* test_beside_threads_userfault.c -- test_beside_threads.c, with pages that the kernel tracks */
#define REAL_DIRTY
#include "test_beside_threads.c"
