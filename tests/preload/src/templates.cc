// PURPOSE: keeps a C++ compiler busy: containers, regular expressions, tuples, recursion at
// compile time. What it prints is fixed.
#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

template <unsigned N> struct fibonacci {
    static constexpr unsigned long value = fibonacci<N - 1>::value + fibonacci<N - 2>::value;
};
template <> struct fibonacci<0> { static constexpr unsigned long value = 0; };
template <> struct fibonacci<1> { static constexpr unsigned long value = 1; };

template <std::size_t... I> static auto squares(std::index_sequence<I...>)
{
    return std::array<unsigned long, sizeof...(I)>{(I * I)...};
}

template <class... T> static std::string join(const T &...items)
{
    std::string out;
    ((out += std::to_string(items) + ","), ...);
    return out;
}

int main()
{
    std::map<std::string, std::vector<std::tuple<int, double, std::string>>> table;
    for (int i = 0; i < 1000; i++)
        table["k" + std::to_string(i % 37)].emplace_back(i, i / 2.0, std::string(i % 50, 'x'));
    std::unordered_map<std::string, std::size_t> sizes;
    for (const auto &[key, rows] : table)
        sizes[key] = std::count_if(rows.begin(), rows.end(),
            [](const auto &row) { return std::get<2>(row).size() > 20; });
    std::regex pattern("k([0-9]+)");
    std::size_t total = 0;
    for (const auto &[key, n] : sizes) {
        std::smatch match;
        if (std::regex_match(key, match, pattern))
            total += n * std::stoul(match[1]);
    }
    auto table2 = squares(std::make_index_sequence<200>{});
    std::cout << fibonacci<80>::value << ' ' << total << ' ' << table2[199] << ' '
              << join(1, 2u, 3L, 4.5) << '\n';
}
