/* sizeclass.c -- see sizeclass.h */
#include "heap/sizeclass.h"

#include "heap/sizeclass_table.inc"
