/* One peak: `count` blocks of `low`..`high` bytes, all sizes equally often, written in full; then
 * `percent` of them are freed in random order. What stays resident is set against what is live. */
#ifndef LOWTIDE_BENCH_PEAK_H
#define LOWTIDE_BENCH_PEAK_H

#include "bench.h"

static inline void fill_blocks(void **blocks, size_t count, size_t low, size_t high)
{
    uint64_t state = 1;
    for (size_t i = 0; i < count; i++) {
        size_t size = random_between(&state, low, high);
        blocks[i] = memset(allocate(size), 1, size);
        *(uint32_t *)blocks[i] = (uint32_t)size;    /* so that the live bytes can be summed */
    }
}

static inline void measure_peak(size_t count, long percent, size_t low, size_t high)
{
    void **blocks = bookkeeping(count * sizeof *blocks);
    uint64_t state = 2;
    long base = resident_bytes();

    double start = seconds_now();
    fill_blocks(blocks, count, low, high);
    double alloc_s = seconds_now() - start;
    long peak = resident_bytes() - base;

    shuffle(blocks, count, &state);
    size_t freed = count * (size_t)percent / 100;
    start = seconds_now();
    for (size_t i = 0; i < freed; i++)
        free(blocks[i]);
    double free_s = seconds_now() - start;
    long at_once = resident_bytes() - base;

    long live = 0;
    for (size_t i = freed; i < count; i++)
        live += *(uint32_t *)blocks[i];
    printf("live_bytes=%ld\npeak_bytes=%ld\nalloc_s=%.4f\nfree_s=%.4f\n", live, peak, alloc_s, free_s);
    print_after(base, at_once);
}

#endif
