/* Many more threads than cores, in generations: generations SCALE
 *
 * 16 threads replace random blocks of 16..512 bytes among 2,000 each. After a while each hands its
 * blocks on to a new thread and ends, so that most blocks are freed by another thread than their
 * maker, which is gone. */
#include "suite.h"

enum { THREADS = 16, BLOCKS = 2000, GENERATIONS = 20 };

struct slot {
    void *block;
    size_t size;
};

static struct slot (*slots)[BLOCKS];
static uint64_t states[THREADS], checks[THREADS];
static long replacements;

static void *replace_blocks(void *argument) {
    size_t self = (size_t)argument;
    uint64_t state = states[self], check = 0;
    for (long i = 0; i < replacements; i++) {
        uint64_t random = random_next(&state);
        struct slot *slot = &slots[self][(random >> 32) % BLOCKS];
        size_t size = 16 + (random & 0xffffffff) % 497;
        if (slot->block) {
            check += *(uint64_t *)slot->block;
            drop(slot->block, slot->size);
        }
        *slot = (struct slot){take_touched(size, random), size};
    }
    states[self] = state;
    checks[self] += check;
    live_flush();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    suite_begin(argc, argv);
    slots = table(THREADS * sizeof *slots);
    replacements = scaled(160000);
    for (size_t i = 0; i < THREADS; i++) states[i] = i + 1;
    for (int generation = 0; generation < GENERATIONS; generation++) {
        start_threads(threads, THREADS, replace_blocks);
        join_threads(threads, THREADS);
    }
    for (size_t i = 1; i < THREADS; i++) checks[0] += checks[i];
    print_check(checks[0]);
    return 0;
}
