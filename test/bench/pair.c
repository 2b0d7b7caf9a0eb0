/* The cheapest use there is: pair [COUNT] [SIZE]
 *
 * One block of 48 bytes is taken and given back, COUNT times. */
#include "bench.h"

int main(int argc, char **argv)
{
    long count = argument(argc, argv, 1, 10000000);
    size_t size = (size_t)argument(argc, argv, 2, 48);
    double start = seconds_now();
    for (long i = 0; i < count; i++) {
        char *block = malloc(size);
        __asm__ volatile("" : : "r"(block) : "memory");     /* or the pair is optimised away */
        free(block);
    }
    double run_s = seconds_now() - start;
    printf("run_s=%.6f\nns_each=%.3f\n", run_s, run_s / (double)count * 1e9);
    return 0;
}
