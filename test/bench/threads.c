/* What a thread costs that has used every size once: threads [COUNT]
 *
 * 16 or 256 threads each take, touch and give back a block of every size class (steps of 16 bytes
 * to 512, of an eighth above, to 64 KiB) and stay alive while resident memory is read. */
#include <pthread.h>
#include "bench.h"

static pthread_barrier_t all_done, measured;

static void touch_once(size_t size)
{
    char *block = allocate(size);
    *(volatile char *)block = 1;
    free(block);
}

static void *use_every_class(void *unused)
{
    for (size_t size = 16; size <= 512; size += 16)
        touch_once(size);
    for (size_t size = 512; size <= 64 << 10; size += size / 8)
        touch_once(size);
    pthread_barrier_wait(&all_done);
    pthread_barrier_wait(&measured);
    return unused;
}

int main(int argc, char **argv)
{
    size_t count = (size_t)argument(argc, argv, 1, 16);
    pthread_t *threads = bookkeeping(count * sizeof *threads);
    pthread_barrier_init(&all_done, NULL, (unsigned)count + 1);
    pthread_barrier_init(&measured, NULL, (unsigned)count + 1);
    long base = resident_bytes();
    for (size_t i = 0; i < count; i++)
        pthread_create(&threads[i], NULL, use_every_class, NULL);
    pthread_barrier_wait(&all_done);
    long alive = resident_bytes();
    pthread_barrier_wait(&measured);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    printf("start_bytes=%ld\nalive_bytes=%ld\ntotal_bytes=%ld\n", base, alive - base, alive);
    return 0;
}
