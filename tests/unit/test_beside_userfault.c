/* test_beside_userfault.c -- test_beside.c, with pages that the kernel tracks */
#define REAL_DIRTY
#include "test_beside.c"
