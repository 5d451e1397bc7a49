/* roots_hidden.c -- pointers that nobody can find, mostly in requests that the kernel keeps; see roots.h
 *
 * The user_data of a request is the address of what the program knows about it, as a rule, and while the
 * request is under way the kernel may be the only one who has it: no interface tells.  Some requests
 * take for ever, such as a server's for the next connection.
 *
 * io_uring's ring of requests keeps each until a later one takes its place.  So a ring of some length
 * shows what a program does: if no request in it names an object that nothing else reaches, it has
 * such addresses in a table, too, or gives numbers; one that does is believed to do so for ever.  The
 * ring of completions, which is longer, is searched like other memory.  It keeps what has been completed,
 * fetched or not, until later completions take its place; so objects that were leaked after their
 * requests are not taken for such.
 *
 * Of libaio there is a ring of completions only.
 */
#include "base/atomics.h"
#include "base/bits.h"
#include "world/roots_scan.h"

enum {
    REQUEST_WORDS = 8, USER_DATA_WORD = 4,      /* struct io_uring_sqe */
    TELLING_REQUESTS = 128,     /* how long the ring is that a page holds is not known */
};

static uint32_t words_hidden;       /* atomic, relaxed: it was found, or said, that the kernel has some */

struct look {
    struct roots_scan scan;
    bool (*is_lost)(uintptr_t word);
    size_t requests;                /* seen in a ring */
    bool lost;                      /* some request names what nothing else does */
};

static void look_at(struct look *look, const uintptr_t *words, size_t count)
{
    look->requests += count / REQUEST_WORDS;
    for (size_t at = USER_DATA_WORD; at < count; at += REQUEST_WORDS)
        look->lost |= look->is_lost(words[at]);
}

/* A mapping may be longer than its ring.  Before Linux 6.10 the kernel does not copy from rings. */
static bool ring_hides(struct look *look, const struct mapping *ring)
{
    struct roots_scan *scan = &look->scan;
    uintptr_t low = ring->low;
    long got = 1;

    look->requests = 0;
    while (low < ring->high && got > 0) {
        size_t bytes = min_size(ring->high - low, ROOTS_PIECE_BYTES);

        got = remote_read(&scan->remote, scan->bounce, low, bytes);
        if (got > 0)
            look_at(look, scan->bounce, (size_t)got / sizeof(uintptr_t));
        low += (uintptr_t)got;
    }
    return got < 0 || look->lost || look->requests < TELLING_REQUESTS;
}

static bool mappings_hide(bool (*is_lost)(uintptr_t word))
{
    struct look look = { .is_lost = is_lost };
    bool hide = false;

    roots_scan_begin(&look.scan, NULL, NULL);
    const struct mapping_table *table = &look.scan.mappings;

    if (table->rings != 0)
        for (size_t i = 0; i < table->count; i++)
            if (table->rows[i].kind == MAPPING_REQUESTS)
                hide |= ring_hides(&look, &table->rows[i]);
    hide |= table->hider_seen;
    roots_scan_end(&look.scan);
    if (look.lost)
        roots_will_hide();
    return hide;
}

void roots_will_hide(void)
{
    store_relaxed(&words_hidden, 1);
}

bool roots_hide(bool (*is_lost)(uintptr_t word))
{
    return load_relaxed(&words_hidden) != 0 || mappings_hide(is_lost);
}
