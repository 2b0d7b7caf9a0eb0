// Destructors of C++: thread_local objects and statics that allocate and free, in threads and at the end of the process.
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

struct Holder {
    std::vector<std::string> texts;
    std::map<int, std::unique_ptr<char[]>> buffers;
    explicit Holder(int n) {
        for (int i = 0; i < n; i++) {
            texts.emplace_back(static_cast<std::size_t>(i) * 13 + 40, 'x');
            buffers[i] = std::make_unique<char[]>(static_cast<std::size_t>(i) * 997 + 1);
        }
    }
    ~Holder() {
        texts.emplace_back(5000, 'y');
        std::vector<std::string> copy(texts);
        buffers.clear();
    }
};

static Holder at_start(200);
thread_local Holder in_thread(100);
thread_local std::unique_ptr<Holder> pointed;

static void work(int n) {
    pointed = std::make_unique<Holder>(n % 50);
    in_thread.texts.emplace_back(static_cast<std::size_t>(n), 'z');
    struct alignas(256) Wide { char bytes[512]; };
    auto wide = std::make_unique<Wide>();
    if (reinterpret_cast<std::uintptr_t>(wide.get()) % 256) throw std::bad_alloc();
}

int main() {
    for (int round = 0; round < 50; round++) {
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++) threads.emplace_back(work, round * 8 + i);
        for (auto &t : threads) t.join();
    }
    try {
        volatile std::size_t beyond = std::size_t(1) << 62; // unknown to the compiler, which may leave out a new it understands
        ::operator delete(::operator new(beyond));
        return 1;
    } catch (const std::bad_alloc &) {
    }
    std::thread(work, 3).detach();
    std::puts("ok");
}
