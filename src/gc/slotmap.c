/* slotmap.c -- see slotmap.h */
#include "gc/slotmap.h"

#include <string.h>

/* Places for the spans that are new; false: no memory, and nothing has changed. */
static bool cover(struct slotmap *map, size_t spans)
{
    if (spans > map->spans_room) {
        uint32_t *first = meta_alloc(2 * spans * sizeof *first);
        if (first == NULL)
            return false;
        if (map->spans != 0)
            memcpy(first, map->first, map->spans * sizeof *first);
        map->first = first;
        map->spans_room = 2 * spans;
    }
    for (; map->spans < spans; map->spans++) {
        map->first[map->spans] = (uint32_t)map->used;
        map->used += span_by_id((uint32_t)map->spans)->words;
    }
    return true;
}

static bool make_room(struct slotmap *map, size_t words)
{
    if (words <= map->room)
        return true;
    uint64_t *fresh = meta_alloc(words * sizeof *fresh);

    if (fresh == NULL)
        return false;
    map->words = fresh;
    map->room = words;
    return true;
}

bool slotmap_prepare(struct slotmap *map)
{
    if (!cover(map, span_table_size()))
        return false;
    /* Not at every call: what is outgrown is lost. */
    return map->used + map->used / 2 <= map->room || make_room(map, 2 * map->used);
}

bool slotmap_clear_stopped(struct slotmap *map)
{
    if (!cover(map, span_table_size()))
        return false;
    if (map->used > map->room && !make_room(map, 2 * map->used))
        return false;
    if (map->used != 0)
        memset(map->words, 0, map->used * sizeof *map->words);
    return true;
}
