/* Back and forth across an arena's edge: edge [COUNT] [BATCH]
 *
 * Blocks of 64 bytes fill a few times 256 KiB to the brim; then batches are taken and given back
 * until COUNT blocks were, and before each batch the level is moved by a page, so that in the
 * course of the run every position of the edge inside a batch occurs. A batch is larger than what
 * a thread caches. Who maps when the edge is crossed and unmaps when it is crossed back shows in
 * `strace -c`; the program itself makes no system call while it runs. */
#include "bench.h"

enum { BLOCK_BYTES = 64, IN_256_KIB = (256 << 10) / BLOCK_BYTES, IN_PAGE = 4096 / BLOCK_BYTES };

int main(int argc, char **argv)
{
    long count = argument(argc, argv, 1, 1000000);
    long batch = argument(argc, argv, 2, 1000);
    long filled = 8 * IN_256_KIB;
    long rounds = count / batch;
    void **blocks = bookkeeping((size_t)(filled + (rounds + 1) * IN_PAGE + batch) * sizeof *blocks);

    long level = 0;
    while (level < filled)
        blocks[level++] = allocate(BLOCK_BYTES);
    double start = seconds_now();
    for (long round = 0; round < rounds; round++) {
        long target = filled + round % IN_PAGE * IN_PAGE;
        while (level < target)
            blocks[level++] = allocate(BLOCK_BYTES);
        while (level > target)
            free(blocks[--level]);
        for (long i = 0; i < batch; i++)
            blocks[level + i] = allocate(BLOCK_BYTES);
        for (long i = batch; i-- > 0;)
            free(blocks[level + i]);
    }
    printf("operations=%ld\nrun_s=%.4f\n", 2 * rounds * batch, seconds_now() - start);
    return 0;
}
