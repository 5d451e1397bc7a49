/* PURPOSE: keeps patterns and charsets of fontconfig, in which pointers are distances, leaks argv[1] MiB at the
 * same time, and prints whether what it kept is good, and its peak memory for the caller to judge. The library
 * is loaded while collections are running. */
#include "blocks.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

enum { KEPT = 200, OBJECTS = 40, PAGES = 70, LATE_MIB = 50 };

/* No headers are needed for so little. */
typedef struct pattern FcPattern;
typedef struct charset FcCharSet;
typedef struct config FcConfig;
typedef struct objects FcObjectSet;
typedef struct { int count, room; FcPattern **fonts; } FcFontSet;

static FcPattern *(*FcPatternCreate)(void);
static FcPattern *(*FcPatternDuplicate)(const FcPattern *);
static int (*FcPatternAddInteger)(FcPattern *, const char *, int);
static int (*FcPatternGetInteger)(const FcPattern *, const char *, int, int *);
static int (*FcPatternAddString)(FcPattern *, const char *, const unsigned char *);
static int (*FcPatternAddCharSet)(FcPattern *, const char *, const FcCharSet *);
static int (*FcPatternGetCharSet)(const FcPattern *, const char *, int, FcCharSet **);
static unsigned char *(*FcNameUnparse)(FcPattern *);
static FcCharSet *(*FcCharSetCreate)(void);
static int (*FcCharSetAddChar)(FcCharSet *, unsigned);
static int (*FcCharSetHasChar)(const FcCharSet *, unsigned);
static unsigned (*FcCharSetCount)(const FcCharSet *);
static FcCharSet *(*FcCharSetUnion)(const FcCharSet *, const FcCharSet *);
static void (*FcCharSetDestroy)(FcCharSet *);
static FcConfig *(*FcInitLoadConfigAndFonts)(void);
static FcFontSet *(*FcFontList)(FcConfig *, FcPattern *, FcObjectSet *);
static FcObjectSet *(*FcObjectSetBuild)(const char *, ...);

struct name { const char *name; void *function; };

static const struct name names[] = {
#define NAME(f) { #f, &f }
    NAME(FcPatternCreate), NAME(FcPatternDuplicate), NAME(FcPatternAddInteger), NAME(FcPatternGetInteger),
    NAME(FcPatternAddString), NAME(FcPatternAddCharSet), NAME(FcPatternGetCharSet), NAME(FcNameUnparse),
    NAME(FcCharSetCreate), NAME(FcCharSetAddChar), NAME(FcCharSetHasChar), NAME(FcCharSetCount),
    NAME(FcCharSetUnion), NAME(FcCharSetDestroy), NAME(FcInitLoadConfigAndFonts), NAME(FcFontList),
    NAME(FcObjectSetBuild),
};

static int load(void)
{
    void *library = dlopen("libfontconfig.so.1", RTLD_NOW);

    for (size_t i = 0; library && i < sizeof names / sizeof names[0]; i++)
        if (!(*(void **)names[i].function = dlsym(library, names[i].name)))
            return 0;
    return library != NULL;
}

static unsigned letter(unsigned seed, unsigned page)
{
    return page * 256 + (seed * 7 + page) % 256;
}

/* Of so many pages that its arrays are moved some times as it grows. */
static FcCharSet *charset_make(unsigned seed)
{
    FcCharSet *set = FcCharSetCreate();

    for (unsigned page = 0; page < PAGES; page++)
        FcCharSetAddChar(set, letter(seed, (page * 37 + seed) % PAGES));
    return set;
}

static int charset_check(const FcCharSet *set, unsigned seed)
{
    for (unsigned page = 0; page < PAGES; page++)
        if (!FcCharSetHasChar(set, letter(seed, page)))
            return 0;
    return 1;
}

static const char *object_name(unsigned n)
{
    static char name[32];

    snprintf(name, sizeof name, "x-test-%u", n);
    return name;
}

static FcPattern *pattern_make(unsigned seed)
{
    FcPattern *pattern = FcPatternCreate();
    FcCharSet *set = charset_make(seed);

    FcPatternAddString(pattern, "family", (const unsigned char *)object_name(seed));
    for (unsigned n = 0; n < OBJECTS; n++)
        FcPatternAddInteger(pattern, object_name(n), (int)(seed + n));
    FcPatternAddCharSet(pattern, "charset", set);
    FcCharSetDestroy(set);
    return pattern;
}

static int pattern_check(const FcPattern *pattern, unsigned seed)
{
    FcCharSet *set;
    int value;

    for (unsigned n = 0; n < OBJECTS; n++)
        if (FcPatternGetInteger(pattern, object_name(n), 0, &value) || value != (int)(seed + n))
            return 0;
    return FcPatternGetCharSet(pattern, "charset", 0, &set) == 0 && FcCharSetCount(set) == PAGES &&
           charset_check(set, seed);
}

static size_t leak_mib;
static size_t leaked_mib;

static void *leak(void *arg)
{
    for (unsigned n = 0, mib = 0; mib < leak_mib; mib++) {
        for (size_t done = 0; done < 1 << 20; n++)
            done += sizeof(struct block) + block_make(n)->length;
        __atomic_store_n(&leaked_mib, mib + 1, __ATOMIC_RELEASE);
    }
    return arg;
}

static size_t leaked(void)
{
    return __atomic_load_n(&leaked_mib, __ATOMIC_ACQUIRE);
}

/* Of all that is installed. */
static unsigned hash_fonts(const FcFontSet *fonts)
{
    unsigned hash = 0;

    for (int i = 0; i < fonts->count; i++) {
        unsigned char *name = FcNameUnparse(fonts->fonts[i]);
        for (unsigned char *at = name; *at; at++)
            hash = hash * 31 + *at;
        free(name);
    }
    return hash;
}

int main(int argc, char **argv)
{
    FcPattern **kept = malloc(KEPT * sizeof *kept);
    FcCharSet **sets = malloc(KEPT * sizeof *sets);
    struct rusage usage;
    pthread_t thread;
    int good = 0, whole = 0;

    leak_mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 256;
    pthread_create(&thread, NULL, leak, NULL);
    while (leaked() < leak_mib && leaked() < LATE_MIB)
        churn(16);
    if (!load())
        return 2;
    for (unsigned i = 0; i < KEPT; i++) {
        kept[i] = pattern_make(i);
        sets[i] = charset_make(i);
    }
    FcFontSet *fonts = FcFontList(FcInitLoadConfigAndFonts(), FcPatternCreate(),
                                  FcObjectSetBuild("family", "style", "file", "charset", "lang", NULL));
    unsigned hash = hash_fonts(fonts), seed = 0;

    do {
        pattern_make(seed++);           /* leaked */
        unsigned i = seed % KEPT;
        if (pattern_check(kept[i], i))
            kept[i] = FcPatternDuplicate(kept[i]);
        FcCharSet *united = FcCharSetUnion(sets[i], sets[i]);
        if (charset_check(sets[i], i))
            sets[i] = united;
        usleep(1000);
    } while (leaked() < leak_mib);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < KEPT; i++) {
        good += pattern_check(kept[i], i);
        whole += charset_check(sets[i], i);
    }
    printf("kept: %d and %d of %d, %d fonts %s\n", good, whole, KEPT, fonts->count,
           hash == hash_fonts(fonts) ? "as before" : "damaged");
    getrusage(RUSAGE_SELF, &usage);
    printf("peak %ld MiB\n", usage.ru_maxrss >> 10);
    return 0;
}
