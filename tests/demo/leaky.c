/* leaky: a small request server with three ordinary leaks.
 *
 * PURPOSE: what the demo shows is the memory of this program. It knows nothing of the library. It
 * parses requests, keeps a table of sessions, and forgets memory in the places marked `leak`, as
 * programs do: a list of which only the head is freed, a field overwritten without freeing the old
 * value, and an error path that returns early. Usage: leaky MIB (how much to leak in all). At the
 * end it checks every session, so that memory reclaimed too early would be noticed, and prints a
 * sum over what it kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 16384,
    PROFILE_BYTES = 256,
    BODY_BYTES = 1024,
    BAD_REQUEST_EVERY = 4,
    /* What one request leaks on average, as it lies in glibc's heap: about 400 bytes asked for, in
     * six or seven blocks. Only turns the MiB of the command line into a number of requests. */
    LEAK_PER_REQUEST = 512,
};

struct header {
    char *name;
    char *value;
    struct header *next;
};

struct request {
    char *page;
    unsigned user;
    struct header *headers;
    char *body;
};

struct session {
    char *user;
    char *last_page;
    char *profile;
    unsigned long visits;
};

/* Written by the one thread of this program. */
static struct session *sessions[SESSIONS];

static void *server_alloc(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL) {
        fprintf(stderr, "leaky: out of memory\n");
        exit(1);
    }
    return block;
}

static char *server_copy(const char *text)
{
    const size_t bytes = strlen(text) + 1;
    return memcpy(server_alloc(bytes), text, bytes);
}

static void request_add_header(struct request *r, const char *name, const char *value)
{
    struct header *h = server_alloc(sizeof *h);
    h->name = server_copy(name);
    h->value = server_copy(value);
    h->next = r->headers;
    r->headers = h;
}

/* request_read -- builds request i as a parser would: a string or a node for everything in it */
static struct request *request_read(unsigned long i)
{
    char text[64];
    struct request *r = server_alloc(sizeof *r);
    r->user = (unsigned)(i * 2654435761u % SESSIONS);
    r->headers = NULL;
    snprintf(text, sizeof text, "/articles/%lu.html", i);
    r->page = server_copy(text);
    request_add_header(r, "Accept", "text/html,application/xhtml+xml");
    snprintf(text, sizeof text, "user=%u; trace=%lu", r->user, i);
    request_add_header(r, "Cookie", text);
    if (i % BAD_REQUEST_EVERY != 0)
        request_add_header(r, "Host", "www.example.org");
    r->body = server_alloc(BODY_BYTES);
    memset(r->body, (int)('a' + i % 26), BODY_BYTES);
    return r;
}

/* leak: the first header goes, the rest of the list is forgotten. */
static void request_free(struct request *r)
{
    free(r->headers->name);
    free(r->headers->value);
    free(r->headers);
    free(r->body);
    free(r);
}

static struct session *session_of(unsigned user)
{
    if (sessions[user] == NULL) {
        char name[32];
        snprintf(name, sizeof name, "user-%u", user);
        struct session *s = server_alloc(sizeof *s);
        s->user = server_copy(name);
        s->last_page = NULL;
        s->profile = server_alloc(PROFILE_BYTES);
        memset(s->profile, (int)(user & 127), PROFILE_BYTES);
        s->visits = 0;
        sessions[user] = s;
    }
    return sessions[user];
}

/* request_serve -- one request from parsing to answer; returns 1 if it was a good one */
static int request_serve(unsigned long i)
{
    struct request *r = request_read(i);
    if (strcmp(r->headers->name, "Host") != 0)
        return 0; /* leak: the whole bad request */
    struct session *s = session_of(r->user);
    s->last_page = r->page; /* leak: the page of the visit before */
    s->visits++;
    request_free(r);
    return 1;
}

static void session_check(unsigned user)
{
    const struct session *s = sessions[user];
    char name[32];
    snprintf(name, sizeof name, "user-%u", user);
    if (strcmp(s->user, name) != 0 || strncmp(s->last_page, "/articles/", 10) != 0) {
        fprintf(stderr, "leaky: session %u is damaged\n", user);
        exit(1);
    }
    for (int i = 0; i < PROFILE_BYTES; i++) {
        if (s->profile[i] != (char)(user & 127)) {
            fprintf(stderr, "leaky: the profile of session %u is damaged\n", user);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    const unsigned long mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 64;
    const unsigned long requests = mib * (1024 * 1024 / LEAK_PER_REQUEST);
    unsigned long good = 0, visits = 0, sum = 0;
    for (unsigned long i = 0; i < requests; i++)
        good += (unsigned long)request_serve(i);
    for (unsigned user = 0; user < SESSIONS; user++) {
        if (sessions[user] == NULL)
            continue;
        session_check(user);
        visits += sessions[user]->visits;
        for (const char *p = sessions[user]->last_page; *p != '\0'; p++)
            sum = sum * 31 + (unsigned char)*p;
    }
    printf("%lu requests, %lu good, %lu visits kept, sum %016lx\n", requests, good, visits, sum);
    return good == visits ? 0 : 1;
}
