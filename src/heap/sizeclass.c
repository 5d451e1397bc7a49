/* sizeclass.c -- see sizeclass.h */
#include "heap/sizeclass.h"

AT_START size_t malloc_rounding = 16;

#include "heap/sizeclass_table.inc"
