/*
 * startup -- what does the allocator cost a process that does next to nothing?
 *
 * A preloaded library is loaded into every command of a shell script. This program allocates one
 * block and ends; bench/run.py times it from outside (us from spawn to exit, many runs), and the
 * peak RSS says how much memory the allocator takes before the program has any.
 */
#include "harness.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    free(harness_use(malloc(100)));
    harness_finish();
    return 0;
}
