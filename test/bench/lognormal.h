/* Log-normal draws without an allocator: sizes and lifetimes of many programs look like them. */
#ifndef LOWTIDE_BENCH_LOGNORMAL_H
#define LOWTIDE_BENCH_LOGNORMAL_H

#include <math.h>

#include "bench.h"

/* Nearly normal: the sum of twelve uniform numbers, less its mean. */
static inline double draw_normal(uint64_t *state)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)(random_next(state) >> 11) * 0x1p-53;
    return sum;
}

static inline uint32_t draw_lognormal(uint64_t *state, double median, double sigma, double least, double most)
{
    double value = median * exp(sigma * draw_normal(state));
    return (uint32_t)(value < least ? least : value > most ? most : value);
}

#endif
