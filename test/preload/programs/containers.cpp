// Containers of every shape, strings of every length, exceptions and threads that hand over what
// they made; prints the same on every run.
#include <algorithm>
#include <deque>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

template <typename Map> static size_t fill(int count)
{
    Map map;
    for (int i = 0; i < count; i++)
        map[std::to_string(i * 7919L % 100003)].push_back(i);
    for (int i = 0; i < count; i += 3)
        map.erase(std::to_string(i * 7919L % 100003));
    size_t sum = 0;
    for (auto &entry : map)
        sum += entry.first.size() * entry.second.size();
    return sum;
}

struct alignas(128) Wide {
    double values[16];
};

static size_t aligned()
{
    std::vector<std::unique_ptr<Wide>> all;
    size_t wrong = 0;
    for (int i = 0; i < 10000; i++) {
        all.push_back(std::make_unique<Wide>());
        wrong += reinterpret_cast<uintptr_t>(all.back().get()) % alignof(Wide) != 0;
    }
    return wrong;
}

static int caught()
{
    int count = 0;
    for (int i = 0; i < 20000; i++) {
        try {
            throw std::runtime_error(std::string(i % 100, 'x'));
        } catch (const std::exception &error) {
            count += std::string(error.what()).size() == size_t(i % 100);
        }
    }
    try {
        volatile size_t huge = size_t(1) << 62;
        delete[] new char[huge];
    } catch (const std::bad_alloc &) {
        count++;
    }
    return count;
}

using Chunk = std::shared_ptr<std::vector<std::string>>;

static size_t handed_over()
{
    std::vector<Chunk> chunks(8);
    std::vector<std::thread> makers;
    for (int t = 0; t < 8; t++)
        makers.emplace_back([t, &chunks] {
            chunks[t] = std::make_shared<std::vector<std::string>>();
            for (int i = 0; i < 20000; i++)
                chunks[t]->emplace_back(i % 300, char('a' + t));
        });
    for (auto &maker : makers)
        maker.join();
    size_t total = 0;
    std::thread last([&] {
        for (auto &chunk : chunks) {
            for (auto &text : *chunk)
                total += text.size();
            chunk.reset();
        }
    });
    last.join();
    return total;
}

int main()
{
    std::cout << "map " << fill<std::map<std::string, std::vector<int>>>(100000) << "\n";
    std::cout << "unordered " << fill<std::unordered_map<std::string, std::list<int>>>(100000) << "\n";
    std::deque<std::function<int(int)>> calls;
    for (int i = 0; i < 50000; i++)
        calls.push_back([i, text = std::string(i % 60, 'y')](int x) { return x + i + int(text.size()); });
    long sum = 0;
    for (auto &call : calls)
        sum += call(1);
    std::cout << "functions " << sum << "\n";
    std::multiset<std::string> words;
    std::ostringstream stream;
    for (int i = 0; i < 20000; i++)
        stream << "w" << i % 77 << ' ';
    std::istringstream input(stream.str());
    for (std::string word; input >> word;)
        words.insert(word);
    std::cout << "words " << words.size() << " " << words.count("w7") << "\n";
    std::string text = stream.str().substr(0, 20000);
    std::regex pattern("w(1[0-9])");
    std::sregex_iterator first(text.begin(), text.end(), pattern);
    std::cout << "matches " << std::distance(first, {}) << "\n";
    std::cout << "misaligned " << aligned() << "\ncaught " << caught() << "\n";
    std::cout << "handed over " << handed_over() << "\n";
}
