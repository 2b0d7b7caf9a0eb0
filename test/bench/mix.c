/* A steady state: mix [LIVE] [COUNT]
 *
 * LIVE blocks of 16..512 bytes exist; COUNT times a random one is freed and another of a random
 * size takes its place. */
#include "bench.h"

int main(int argc, char **argv)
{
    size_t live = (size_t)argument(argc, argv, 1, 1000);
    long count = argument(argc, argv, 2, 5000000);
    void **blocks = bookkeeping(live * sizeof *blocks);
    uint64_t state = 3;
    long base = resident_bytes();
    for (size_t i = 0; i < live; i++)
        blocks[i] = allocate(random_between(&state, 16, 512));

    double start = seconds_now();
    for (long i = 0; i < count; i++) {
        uint64_t random = random_next(&state);
        size_t k = (random >> 32) % live;
        free(blocks[k]);
        blocks[k] = allocate(16 + (random & 0xffffffff) % 497);
        *(volatile char *)blocks[k] = 1;
    }
    double run_s = seconds_now() - start;
    printf("run_s=%.6f\nns_each=%.3f\nresident_bytes=%ld\n", run_s, run_s / (double)count * 1e9,
           resident_bytes() - base);
    return 0;
}
