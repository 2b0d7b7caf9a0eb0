/* Objects freed by another thread than their maker: ring [THREADS] [COUNT_EACH]
 *
 * Each of 8 threads makes 200,000 objects of 16..512 bytes; when all are made, each frees those of
 * its neighbour and ends. Nothing is live afterwards, and no thread is left to give anything back. */
#include <pthread.h>
#include "bench.h"

static size_t thread_count, count_each;
static void **objects;              /* thread t's are at t * count_each */
static pthread_barrier_t all_made;

static void *make_and_free(void *argument)
{
    size_t self = (size_t)argument;
    void **mine = objects + self * count_each;
    void **neighbours = objects + (self + 1) % thread_count * count_each;
    uint64_t state = self + 1;

    for (size_t i = 0; i < count_each; i++) {
        size_t size = random_between(&state, 16, 512);
        mine[i] = memset(allocate(size), 1, size);
    }
    pthread_barrier_wait(&all_made);
    for (size_t i = 0; i < count_each; i++)
        free(neighbours[i]);
    return NULL;
}

int main(int argc, char **argv)
{
    thread_count = (size_t)argument(argc, argv, 1, 8);
    count_each = (size_t)argument(argc, argv, 2, 200000);
    objects = bookkeeping(thread_count * count_each * sizeof *objects);
    pthread_t *threads = bookkeeping(thread_count * sizeof *threads);
    pthread_barrier_init(&all_made, NULL, (unsigned)thread_count);
    long base = resident_bytes();

    double start = seconds_now();
    for (size_t i = 0; i < thread_count; i++)
        pthread_create(&threads[i], NULL, make_and_free, (void *)i);
    for (size_t i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    double run_s = seconds_now() - start;
    long at_once = resident_bytes() - base;
    printf("run_s=%.4f\n", run_s);
    print_after(base, at_once);
    return 0;
}
