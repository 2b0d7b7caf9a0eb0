/* What a read pays that does not block: reads [COUNT]
 *
 * COUNT reads of one byte, first from /dev/zero, then from a pipe that is never empty, with a block
 * taken and given back every tenth time. */
#include "bench.h"

static double read_all(int fd, long count)
{
    char byte;
    double start = seconds_now();
    for (long i = 0; i < count; i++) {
        if (read(fd, &byte, 1) != 1)
            exit(1);
        if (i % 10)
            continue;
        char *block = malloc(64 + (size_t)(i % 70) * 8);
        __asm__ volatile("" : : "r"(block) : "memory"); /* or the pair is optimised away */
        free(block);
    }
    return (seconds_now() - start) / (double)count * 1e9;
}

/* A pipe holds 64 KiB, so it is filled anew after each of those. */
static double read_pipe(long count)
{
    static char bytes[1 << 15];
    int ends[2];
    double ns = 0;
    long rounds = count / (long)sizeof bytes + 1;
    if (pipe(ends))
        exit(1);
    for (long i = 0; i < rounds; i++) {
        if (write(ends[1], bytes, sizeof bytes) != sizeof bytes)
            exit(1);
        ns += read_all(ends[0], sizeof bytes);
    }
    return ns / (double)rounds;
}

int main(int argc, char **argv)
{
    long count = argument(argc, argv, 1, 1000000);
    int zero = open("/dev/zero", O_RDONLY);
    if (zero < 0)
        return 1;
    double of_zero = read_all(zero, count);
    printf("zero_ns_each=%.1f\npipe_ns_each=%.1f\n", of_zero, read_pipe(count));
    return 0;
}
