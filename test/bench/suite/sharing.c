/* False sharing: sharing SCALE active|passive
 *
 * Four threads write into small blocks of their own, hundreds of times each. They are slow when an
 * allocator gives different threads parts of one cache line: `active` when they just allocate,
 * `passive` when their first blocks come from one thread that allocated them side by side. */
#include "suite.h"

enum { THREADS = 4, BLOCKS = 8, SIZE = 8, WRITES = 400 };

static _Alignas(64) char *first[THREADS][BLOCKS]; /* a cache line for each thread */
static uint64_t checks[THREADS];
static long rounds;

static char *small_block(void) { return memset(take(SIZE), 0, SIZE); }

static uint64_t write_often(char *block) {
    for (int i = 0; i < WRITES; i++) ++*(volatile char *)block;
    return (unsigned char)*block;
}

static void *write_blocks(void *argument) {
    size_t self = (size_t)argument;
    uint64_t check = 0;
    for (long round = 0; round < rounds; round++)
        for (size_t i = 0; i < BLOCKS; i++) {
            char *block = first[self][i];
            if (block) drop(block, SIZE);
            first[self][i] = block = small_block();
            check += write_often(block);
        }
    checks[self] = check;
    live_flush();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS];
    suite_begin(argc, argv);
    rounds = scaled(50000);
    if (asked_for(argc, argv, 2, "passive"))
        for (size_t i = 0; i < BLOCKS; i++)
            for (size_t thread = 0; thread < THREADS; thread++) first[thread][i] = small_block();
    start_threads(threads, THREADS, write_blocks);
    join_threads(threads, THREADS);
    print_check(checks[0] + checks[1] + checks[2] + checks[3]);
    return 0;
}
