/* loader.c -- loads the plugin named by its argument; see loader_plugin.c */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
    void *plugin = dlopen(argv[argc - 1], RTLD_NOW);

    for (int i = 0; i < 3000; i++)
        memset(malloc(1000), i, 1000);
    printf("loaded %d\n", plugin != NULL);
    return plugin == NULL;
}
