/* The runtime of names.c. */
static void *freed;

int gc_collect(void)
{
    return 77;
}

void gc_free(void *object)
{
    freed = object;
}

void *gc_realloc(void *object, unsigned long bytes, unsigned attributes)
{
    return bytes == 1 && attributes == 0 && object == freed ? object : (void *)0;
}
