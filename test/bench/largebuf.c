/* A job that builds and drops large buffers in a loop: largebuf [ROUNDS] [BUFFERS]
 *
 * 64 buffers of 1..16 MB are taken, written in full and given back, 10 times. The first two rounds
 * warm up; the median of the others is the time of a round. */
#include "bench.h"

enum { MOST_ROUNDS = 100, WARM_UP = 2 };

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double run_round(void **buffers, size_t count, uint64_t *state)
{
    double start = seconds_now();
    for (size_t i = 0; i < count; i++) {
        size_t size = random_between(state, 1000000, 16000000);
        buffers[i] = memset(allocate(size), (int)i + 1, size);
    }
    for (size_t i = 0; i < count; i++)
        free(buffers[i]);
    return seconds_now() - start;
}

int main(int argc, char **argv)
{
    long rounds = argument(argc, argv, 1, 10);
    size_t count = (size_t)argument(argc, argv, 2, 64);
    if (rounds <= WARM_UP || rounds > MOST_ROUNDS)
        return 2;
    static double seconds[MOST_ROUNDS];
    void **buffers = bookkeeping(count * sizeof *buffers);
    long base = resident_bytes();
    for (long i = 0; i < rounds; i++) {
        uint64_t state = 4;         /* every round asks for the same sizes, as a loop does */
        seconds[i] = run_round(buffers, count, &state);
    }
    long at_once = resident_bytes() - base;
    qsort(seconds + WARM_UP, (size_t)(rounds - WARM_UP), sizeof *seconds, compare_doubles);
    printf("round_s=%.4f\n", seconds[WARM_UP + (rounds - WARM_UP) / 2]);
    print_after(base, at_once);
    return 0;
}
