/* One way through the allocator at a time, to count its instructions: paths [KIND] [COUNT]
 *
 *   remote   COUNT blocks of 48 bytes, handed over 1,000 at a time to a thread that frees them
 *   refill   COUNT blocks of 48 bytes from memory that was never used; none is freed
 *   drop     COUNT blocks of 48 bytes are taken, then freed in the same order
 *   drop-2k  the same with 2 KiB
 *
 * The count is rounded down to thousands. */
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>

#include "bench.h"

enum { BATCH = 1000, SMALL = 48, BIG = 2048 };

static void *batch[2][BATCH];
static sem_t empty, full;
static long batches;

static void fill(void **blocks, long count, size_t size)
{
    for (long i = 0; i < count; i++)
        blocks[i] = allocate(size);
}

static void drop(void **blocks, long count)
{
    for (long i = 0; i < count; i++)
        free(blocks[i]);
}

/* One batch is freed while the next is made. */
static void *free_batches(void *unused)
{
    for (long i = 0; i < batches; i++) {
        sem_wait(&full);
        drop(batch[i % 2], BATCH);
        sem_post(&empty);
    }
    return unused;
}

static void hand_over(void)
{
    pthread_t consumer;
    sem_init(&empty, 0, 2);
    sem_init(&full, 0, 0);
    if (pthread_create(&consumer, NULL, free_batches, NULL) != 0) {
        dprintf(2, "pthread_create failed\n");
        exit(1);
    }
    for (long i = 0; i < batches; i++) {
        sem_wait(&empty);
        fill(batch[i % 2], BATCH, SMALL);
        sem_post(&full);
    }
    pthread_join(consumer, NULL);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "remote";
    batches = argument(argc, argv, 2, 1000000) / BATCH;
    long count = batches * BATCH;
    bool remote = strcmp(kind, "remote") == 0, refill = strcmp(kind, "refill") == 0;
    size_t size = strcmp(kind, "drop-2k") == 0 ? BIG : SMALL;
    void **blocks = remote ? NULL : bookkeeping((size_t)count * sizeof *blocks);
    double start = seconds_now();
    if (remote)
        hand_over();
    else
        fill(blocks, count, size);
    if (!remote && !refill)
        drop(blocks, count);
    double run_s = seconds_now() - start;
    printf("run_s=%.6f\nns_each=%.3f\n", run_s, run_s / (double)count * 1e9);
    return 0;
}
