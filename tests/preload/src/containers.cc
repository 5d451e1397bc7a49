// PURPOSE: C++ over the library: containers, strings, exceptions, threads, futures, thread-local
// and static destructors, and every form of operator new and delete. Output is fixed.
#include <algorithm>
#include <any>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <initializer_list>
#include <future>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <new>
#include <queue>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace {

struct Parting {
    std::string text;
    explicit Parting(std::string t) : text(std::move(t)) {}
    ~Parting() { std::fprintf(stdout, "%s\n", text.c_str()); }
};

Parting last_words("static destructor, with a string that is too long for the small buffer");

std::atomic<long> thread_destructors{0};

struct PerThread {
    std::vector<std::string> kept;
    ~PerThread() { thread_destructors += static_cast<long>(kept.size()); }
};

thread_local PerThread per_thread;

struct alignas(128) Wide {
    char bytes[384];
};

bool aligned(const void *p, std::size_t to)
{
    return reinterpret_cast<std::uintptr_t>(p) % to == 0;
}

void containers()
{
    std::map<int, std::string> tree;
    std::unordered_map<std::string, std::vector<int>> table;
    std::list<std::string> list;
    std::deque<long> deque;
    std::set<std::string> set;
    std::priority_queue<std::pair<int, std::string>> heap;
    for (int i = 0; i < 20000; i++) {
        std::string s = "item number " + std::to_string(i * 7919 % 20011);
        tree[i * 31 % 20011] = s;
        table[s.substr(0, 15)].push_back(i);
        list.push_front(s);
        deque.push_back(i), deque.push_front(-i);
        set.insert(s + s);
        heap.emplace(i * 17 % 10007, s);
        if (i % 3 == 0)
            list.pop_back(), deque.pop_back(), tree.erase(i * 31 % 20011);
    }
    long sum = 0;
    for (auto &[k, v] : tree)
        sum += k * static_cast<long>(v.size());
    for (auto &[k, v] : table)
        sum += static_cast<long>(k.size()) * v.back();
    list.sort();
    list.unique();
    for (int i = 0; i < 5000; i++)
        heap.pop();
    std::cout << tree.size() << ' ' << table.size() << ' ' << list.front() << ' '
              << deque.size() << ' ' << *set.rbegin() << ' ' << heap.top().second << ' '
              << sum << '\n';
    std::vector<std::unique_ptr<std::string>> owners;
    for (int i = 0; i < 30000; i++)
        owners.push_back(std::make_unique<std::string>(static_cast<std::size_t>(i % 200), 'o'));
    std::stable_sort(owners.begin(), owners.end(), [](auto &a, auto &b) { return *a < *b; });
    owners.erase(owners.begin() + 100, owners.begin() + 20000);
    std::size_t length = 0;
    for (auto &o : owners)
        length += o->size();
    std::cout << owners.size() << ' ' << length << '\n';
    std::ostringstream out;
    for (int i = 0; i < 20000; i++)
        out << i << (i % 10 ? ' ' : '\n');
    std::istringstream in(out.str());
    long total = 0;
    for (long x; in >> x;)
        total += x;
    std::cout << total << '\n';
}

struct Ring {
    std::shared_ptr<Ring> next;
    std::weak_ptr<Ring> back;
    std::variant<int, std::string, std::vector<double>> value;
    std::any other;
    std::function<std::size_t()> measure;
};

void shared()
{
    std::vector<std::weak_ptr<Ring>> watched;
    std::shared_ptr<Ring> head;
    for (int i = 0; i < 3000; i++) {
        auto r = std::make_shared<Ring>();
        r->next = head;
        if (head)
            head->back = r;
        r->value = std::vector<double>(static_cast<std::size_t>(i % 20), 1.5);
        r->other = std::string(100, static_cast<char>('a' + i % 26));
        r->measure = [text = std::string(60, 'm'), i] {
            return text.size() + static_cast<std::size_t>(i);
        };
        watched.push_back(r);
        head = r;
    }
    std::size_t sum = 0;
    for (auto p = head; p; p = p->next)
        sum += p->measure() + std::any_cast<std::string &>(p->other).size();
    while (head)
        head = std::exchange(head->next, nullptr);
    std::cout << sum << ' '
              << std::count_if(watched.begin(), watched.end(),
                     [](auto &w) { return w.expired(); }) << '\n';
}

struct Failure : std::runtime_error {
    std::vector<std::string> baggage;
    explicit Failure(int n)
        : std::runtime_error("failure " + std::to_string(n)), baggage(20, std::string(50, 'b'))
    {
    }
};

std::size_t deep(int n)
{
    std::string here(static_cast<std::size_t>(30 + n), 'd');
    try {
        if (n == 0)
            throw Failure(7);
        return deep(n - 1) + here.size();
    } catch (const Failure &f) {
        if (n % 10 == 0 && n < 30)
            std::throw_with_nested(std::logic_error("level " + std::to_string(n) + f.what()));
        throw;
    }
}

void exceptions()
{
    int caught = 0;
    for (int i = 0; i < 300; i++)
        try {
            deep(9);
        } catch (const Failure &f) {
            caught += f.baggage.size() == 20 && f.baggage[19].size() == 50;
        } catch (const std::exception &) {
            caught += 1000;
        }
    std::exception_ptr kept;
    std::thread([&] {
        try {
            deep(5);
        } catch (...) {
            kept = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(kept);
    } catch (const std::exception &e) {
        std::cout << caught << ' ' << e.what() << '\n';
    }
    int refused = 0;
    volatile std::size_t huge = SIZE_MAX / 2;
    try {
        delete[] new char[huge];
    } catch (const std::bad_alloc &) {
        refused++;
    }
    try {
        std::vector<int> v;
        v.reserve(huge);
    } catch (const std::length_error &) {
        refused++;
    }
    refused += new (std::nothrow) char[huge] == nullptr;
    refused += new (std::align_val_t(64), std::nothrow) char[huge] == nullptr;
    std::cout << refused << " refused\n";
}

int handler_calls;

void operators()
{
    int good = 0, tried = 0;
    auto check = [&](void *p, std::size_t alignment, std::size_t size) {
        tried++;
        good += p && aligned(p, alignment);
        std::memset(p, 1, size);
    };
    for (std::size_t n : std::initializer_list<std::size_t>{0, 1, 24, 1000, 70000}) {
        void *p;
        check(p = ::operator new(n), 16, n), ::operator delete(p);
        check(p = ::operator new(n), 16, n), ::operator delete(p, n);
        check(p = ::operator new[](n), 16, n), ::operator delete[](p);
        check(p = ::operator new[](n), 16, n), ::operator delete[](p, n);
        check(p = ::operator new(n, std::nothrow), 16, n), ::operator delete(p, std::nothrow);
        check(p = ::operator new[](n, std::nothrow), 16, n), ::operator delete[](p, std::nothrow);
        for (std::size_t a = 8; a <= 65536; a *= 4) {
            std::align_val_t to{a};
            check(p = ::operator new(n, to), a, n), ::operator delete(p, to);
            check(p = ::operator new(n, to), a, n), ::operator delete(p, n, to);
            check(p = ::operator new[](n, to), a, n), ::operator delete[](p, to);
            check(p = ::operator new[](n, to), a, n), ::operator delete[](p, n, to);
            check(p = ::operator new(n, to, std::nothrow), a, n);
            ::operator delete(p, to, std::nothrow);
            check(p = ::operator new[](n, to, std::nothrow), a, n);
            ::operator delete[](p, to, std::nothrow);
        }
    }
    std::vector<std::unique_ptr<Wide>> wide;
    for (int i = 0; i < 2000; i++) {
        wide.push_back(std::make_unique<Wide>());
        tried++;
        good += aligned(wide.back().get(), 128);
    }
    std::set_new_handler([] {
        if (++handler_calls == 3)
            std::set_new_handler(nullptr);
    });
    volatile std::size_t huge = SIZE_MAX / 2;
    try {
        ::operator delete(::operator new(huge));
    } catch (const std::bad_alloc &) {
        good += handler_calls == 3, tried++;
    }
    std::cout << good << " of " << tried << " operators\n";
}

long worker(int n)
{
    std::unordered_map<int, std::string> mine;
    for (int i = 0; i < 4000; i++) {
        mine[i * 13 % 4001] = std::string(static_cast<std::size_t>(i % 90), 'w');
        per_thread.kept.push_back(std::to_string(i));
        if (i % 4 == n % 4)
            mine.erase(i * 7 % 4001);
    }
    long sum = 0;
    for (auto &[k, v] : mine)
        sum += k + static_cast<long>(v.size());
    return sum;
}

void threads()
{
    std::vector<std::future<long>> futures;
    for (int i = 0; i < 12; i++)
        futures.push_back(std::async(std::launch::async, worker, i));
    long sum = 0;
    for (auto &f : futures)
        sum += f.get();
    std::mutex lock;
    std::condition_variable filled;
    std::queue<std::unique_ptr<std::string>> queue;
    std::size_t eaten = 0;
    std::thread eater([&] {
        for (int i = 0; i < 30000; i++) {
            std::unique_lock<std::mutex> held(lock);
            filled.wait(held, [&] { return !queue.empty(); });
            eaten += queue.front()->size();
            queue.pop();
        }
    });
    for (int i = 0; i < 30000; i++) {
        auto s = std::make_unique<std::string>(static_cast<std::size_t>(i % 150), 'q');
        std::lock_guard<std::mutex> held(lock);
        queue.push(std::move(s));
        filled.notify_one();
    }
    eater.join();
    for (int i = 0; i < 300; i++)
        std::thread([] { per_thread.kept.emplace_back(50, 't'); }).join();
    std::cout << sum << ' ' << eaten << ' ' << thread_destructors << '\n';
}

void resources()
{
    std::pmr::monotonic_buffer_resource buffer;
    std::pmr::synchronized_pool_resource pool(&buffer);
    std::pmr::map<int, std::pmr::string> m(&pool);
    for (int i = 0; i < 10000; i++)
        m.emplace(i * 7 % 10007, std::pmr::string(static_cast<std::size_t>(i % 100), 'p', &pool));
    std::size_t sum = 0;
    for (auto &[k, v] : m)
        sum += v.size();
    std::cout << m.size() << ' ' << sum << '\n';
}

} // namespace

int main()
{
    containers();
    shared();
    exceptions();
    operators();
    threads();
    resources();
    return 0;
}
