// cxx.cc -- the C++ operators through the library
//
// PURPOSE  All 20 replaceable forms of new and delete reach our heap (gc_base says so), with the
//          alignment asked for; too much throws bad_alloc or gives nullptr, and calls the new
//          handler. The header works in C++: GC_WRITE and GC_SWAP convert as assignments do.
//          Compiled with -fsized-deallocation -faligned-new, so that all forms are declared.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <gcalloc.h>

static int failures;

#define EXPECT(condition)                                                                     \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);              \
            failures++;                                                                       \
        }                                                                                     \
    } while (0)

static const std::align_val_t ALIGN{256};

static void *ours(void *block)
{
    EXPECT(block != nullptr && gc_base(block) == block);
    return block;
}

static void *ours_aligned(void *block)
{
    EXPECT(reinterpret_cast<std::uintptr_t>(block) % 256 == 0);
    return ours(block);
}

// A freed block is in no object any more.
static void gone(std::uintptr_t hidden)
{
    EXPECT(gc_base(reinterpret_cast<void *>(~hidden)) == nullptr);
}

#define DELETED(allocation, deallocation)                                                     \
    do {                                                                                      \
        void *block = (allocation);                                                           \
        std::uintptr_t hidden = ~reinterpret_cast<std::uintptr_t>(block);                     \
        deallocation;                                                                         \
        gone(hidden);                                                                         \
    } while (0)

static void test_operators(std::size_t n)
{
    DELETED(ours(::operator new(n)), ::operator delete(block));
    DELETED(ours(::operator new(n)), ::operator delete(block, n));
    DELETED(ours(::operator new(n, std::nothrow)), ::operator delete(block, std::nothrow));
    DELETED(ours_aligned(::operator new(n, ALIGN)), ::operator delete(block, ALIGN));
    DELETED(ours_aligned(::operator new(n, ALIGN)), ::operator delete(block, n, ALIGN));
    DELETED(ours_aligned(::operator new(n, ALIGN, std::nothrow)),
            ::operator delete(block, ALIGN, std::nothrow));
    DELETED(ours(::operator new[](n)), ::operator delete[](block));
    DELETED(ours(::operator new[](n)), ::operator delete[](block, n));
    DELETED(ours(::operator new[](n, std::nothrow)), ::operator delete[](block, std::nothrow));
    DELETED(ours_aligned(::operator new[](n, ALIGN)), ::operator delete[](block, ALIGN));
    DELETED(ours_aligned(::operator new[](n, ALIGN)), ::operator delete[](block, n, ALIGN));
    DELETED(ours_aligned(::operator new[](n, ALIGN, std::nothrow)),
            ::operator delete[](block, ALIGN, std::nothrow));
}

static bool throws_bad_alloc(void *(*allocate)(std::size_t), std::size_t bytes)
{
    try {
        allocate(bytes);
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void *plain_new(std::size_t n) { return ::operator new(n); }
static void *array_new(std::size_t n) { return ::operator new[](n); }
static void *aligned_new(std::size_t n) { return ::operator new(n, ALIGN); }
static void *aligned_array_new(std::size_t n) { return ::operator new[](n, ALIGN); }

static void test_too_much()
{
    static const volatile std::size_t sizes[] = {SIZE_MAX - 4096, std::size_t(1) << 63,
                                                 std::size_t(1) << 60};

    for (std::size_t n : sizes) {
        EXPECT(throws_bad_alloc(plain_new, n));
        EXPECT(throws_bad_alloc(array_new, n));
        EXPECT(throws_bad_alloc(aligned_new, n));
        EXPECT(throws_bad_alloc(aligned_array_new, n));
        EXPECT(::operator new(n, std::nothrow) == nullptr);
        EXPECT(::operator new[](n, std::nothrow) == nullptr);
        EXPECT(::operator new(n, ALIGN, std::nothrow) == nullptr);
        EXPECT(::operator new[](n, ALIGN, std::nothrow) == nullptr);
    }
}

static int handler_calls;

static void handler()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static void test_new_handler()
{
    std::set_new_handler(handler);
    EXPECT(throws_bad_alloc(plain_new, std::size_t(1) << 60));
    EXPECT(handler_calls == 3);
    EXPECT(std::get_new_handler() == nullptr);
}

static void test_containers()
{
    std::map<std::string, std::vector<int>> map;

    for (int i = 0; i < 2000; i++)
        map["a key that is longer than the small string " + std::to_string(i)].assign(50, i);
    std::thread([&map] {
        for (int i = 0; i < 2000; i += 2)
            map.erase("a key that is longer than the small string " + std::to_string(i));
    }).join();
    gc_collect();
    gc_collect();
    EXPECT(map.size() == 1000);
    for (const auto &entry : map)
        EXPECT(entry.second.size() == 50 && entry.first.size() > 40);
}

// Exceptions are allocated by __cxa_allocate_exception, and live only in the unwinder's hands.
static void test_exceptions_survive_cycles()
{
    for (int i = 0; i < 10; i++) {
        try {
            throw std::string("an exception with a string that is not small, ") + std::to_string(i);
        } catch (const std::string &text) {
            gc_collect();
            gc_collect();
            EXPECT(text == "an exception with a string that is not small, " + std::to_string(i));
        }
    }
}

struct Base {
    Base *next;
    int value;
};
struct Derived : Base {
    int more;
};

static void test_header()
{
    Base *base = static_cast<Base *>(gc_alloc(sizeof(Base)));
    Derived *derived = static_cast<Derived *>(gc_alloc(sizeof(Derived)));

    GC_WRITE(&base->next, derived);
    EXPECT(base->next == derived);
    EXPECT(GC_SWAP(&base->next, nullptr) == derived);
    GC_WRITE(&base->next, nullptr);
    GC_WRITE(&base->next, NULL);
    EXPECT(gc_compare_exchange(&base->next, nullptr, base));
    EXPECT(base->next == base);
    EXPECT(std::string(gc_version()) == GCALLOC_VERSION_STRING);
    gc_memstats stats;

    gc_read_memstats(&stats);
    EXPECT(stats.heap_objects > 0);
}

int main()
{
    for (std::size_t n : {std::size_t(0), std::size_t(1), std::size_t(100), std::size_t(5000),
                          std::size_t(100000), std::size_t(5000000)})
        test_operators(n);
    test_too_much();
    test_new_handler();
    test_containers();
    test_exceptions_survive_cycles();
    test_header();
    std::puts(failures == 0 ? "cxx: ok" : "cxx: FAILED");
    return failures != 0;
}
