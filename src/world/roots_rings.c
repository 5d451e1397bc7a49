/* roots_rings.c -- requests that are under way in io_uring; see roots.h
 *
 * The user_data of a request is the address of what the program knows about it, as a rule, and while the
 * request is under way the kernel may be the only one who has it: no interface tells.  But the ring of
 * requests keeps each until a later one takes its place.  So it shows whether a program leaves objects
 * to the kernel: some request in the ring names one that nothing else reaches.  Then there may be others,
 * of which the ring knows nothing any more, and nothing can be called garbage.  A program that has such
 * addresses in a table, too, is collected like any other.
 *
 * The ring of completions, which is longer, is searched like other memory.  It keeps what has been
 * completed, fetched or not, until later completions take its place; so objects that were leaked after
 * their requests are not taken for such.
 */
#include "base/bits.h"
#include "world/roots_scan.h"

enum { REQUEST_WORDS = 8, USER_DATA_WORD = 4 };         /* struct io_uring_sqe */

static bool any_is_lost(const uintptr_t *words, size_t count, bool (*is_lost)(uintptr_t word))
{
    for (size_t at = USER_DATA_WORD; at < count; at += REQUEST_WORDS)
        if (is_lost(words[at]))
            return true;
    return false;
}

/* A mapping may be longer than its ring.  When not even its beginning can be read (before Linux 6.10 the
 * kernel does not copy from rings) it is in doubt. */
static bool ring_has_lost(struct roots_scan *scan, const struct mapping *ring,
                          bool (*is_lost)(uintptr_t word))
{
    for (uintptr_t low = ring->low; low < ring->high;) {
        size_t bytes = min_size(ring->high - low, ROOTS_PIECE_BYTES);
        long got = remote_read(&scan->remote, scan->bounce, low, bytes);

        if (got <= 0)
            return low == ring->low;
        if (any_is_lost(scan->bounce, (size_t)got / sizeof(uintptr_t), is_lost))
            return true;
        low += (size_t)got;
    }
    return false;
}

bool roots_left_to_kernel(bool (*is_lost)(uintptr_t word))
{
    struct roots_scan scan;
    bool found = false;

    roots_scan_begin(&scan, NULL, NULL);
    if (scan.mappings.rings != 0)
        for (size_t i = 0; i < scan.mappings.count && !found; i++)
            found = scan.mappings.rows[i].kind == MAPPING_REQUESTS &&
                    ring_has_lost(&scan, &scan.mappings.rows[i], is_lost);
    roots_scan_end(&scan);
    return found;
}
