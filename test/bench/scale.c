/* Whether an operation costs the same however much there is: scale KIND [N] [COUNT] [OPERATION]
 *
 *   live     N blocks of 16..48 bytes; then COUNT times a random one is freed and another one taken
 *   arenas   N times 256 KiB of 512-byte blocks, all but one of each 256 KiB freed; then COUNT operations, of one kind or of
 *            each: blocks of 512 bytes taken and freed in random order, 8,000 at a time (near) or 4 N (across), and blocks of
 *            2 KiB, 256 at a time (slab), and of 100 KiB, one by one (wide)
 *   lean     the same, but pages are emptied (MADV_DONTNEED) while all their blocks are taken, so that 20 GiB of them fit into
 *            little memory; for allocators that keep nothing in pages or beside blocks
 *   threads  N threads, each with 1,000 blocks of 16..512 bytes, which make COUNT replacements in all
 */
#include <pthread.h>
#include <sys/resource.h>

#include "bench.h"

static double each_ns(double run_s, size_t count)
{
    return run_s / (double)count * 1e9;
}

static void replace(void **blocks, size_t live, size_t count, size_t largest, uint64_t *state)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t random = random_next(state);
        size_t k = (random >> 32) % live;
        free(blocks[k]);
        blocks[k] = allocate(16 + (random & 0xffffffff) % (largest - 15));
        *(volatile char *)blocks[k] = 1;
    }
}

static void fill(void **blocks, size_t count, size_t largest, uint64_t *state)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = allocate(random_between(state, 16, largest));
        *(volatile char *)blocks[i] = 1;
    }
}

/* ---- live ---- */

static void scale_live(size_t live, size_t count)
{
    void **blocks = bookkeeping(live * sizeof *blocks);
    uint64_t state = 1;
    double start = seconds_now();
    fill(blocks, live, 48, &state);
    printf("fill_ns=%.3f\n", each_ns(seconds_now() - start, live));
    start = seconds_now();
    replace(blocks, live, count, 48, &state);
    printf("replace_ns=%.3f\n", each_ns(seconds_now() - start, count));
}

/* ---- arenas ---- */

enum { PAGE_BITS = 12, PAGE = 1 << PAGE_BITS, ADDRESS_BITS = 47 };
enum { BLOCK = 512, IN_PAGE = PAGE / BLOCK, IN_ARENA = (256 << 10) / BLOCK, NEAR = 8000 };

static unsigned char *taken_of; /* of each page: how many of its blocks are taken */

static void empty_if_full(char *block)
{
    static char *run, *run_end;
    size_t page = (uintptr_t)block / PAGE;
    if (++taken_of[page] < IN_PAGE)
        return;
    char *at = (char *)(page * PAGE);
    if (at != run_end) {
        if (run)
            madvise(run, (size_t)(run_end - run), MADV_DONTNEED);
        run = at;
    }
    run_end = at + PAGE;
}

static void prepare_to_empty(void)
{
    taken_of = mmap(NULL, 1UL << (ADDRESS_BITS - PAGE_BITS), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (taken_of == MAP_FAILED) {
        dprintf(2, "no address space for a byte a page\n");
        exit(1);
    }
}

/* Freed only when all exist: they would be taken again otherwise. */
static void make_arenas(void **blocks, size_t arenas)
{
    uint64_t state = 1;
    for (size_t i = 0; i < arenas * IN_ARENA; i++) {
        blocks[i] = allocate(BLOCK);
        if (taken_of)
            empty_if_full(blocks[i]);
    }
    for (size_t i = 0; i < arenas; i++) {
        size_t survivor = i * IN_ARENA + random_next(&state) % IN_ARENA;
        for (size_t k = i * IN_ARENA; k < (i + 1) * IN_ARENA; k++)
            if (k != survivor)
                free(blocks[k]);
    }
}

/* `batch` blocks are taken, and freed in random order, until there were `count`. */
static double take_and_free(void **blocks, size_t batch, size_t size, size_t count)
{
    uint64_t state = 2;
    double run_s = 0;
    size_t rounds = (count + batch - 1) / batch;
    for (size_t round = 0; round < rounds; round++) {
        double start = seconds_now();
        for (size_t i = 0; i < batch; i++) {
            blocks[i] = allocate(size);
            *(volatile char *)blocks[i] = 1;
        }
        run_s += seconds_now() - start;
        shuffle(blocks, batch, &state);
        start = seconds_now();
        for (size_t i = 0; i < batch; i++)
            free(blocks[i]);
        run_s += seconds_now() - start;
    }
    return each_ns(run_s, rounds * batch);
}

static void scale_arenas(size_t arenas, size_t count, const char *only)
{
    const struct {
        const char *name;
        size_t batch, size, count;
    } operations[] = {
        {"near", NEAR, BLOCK, count},
        {"across", 4 * arenas, BLOCK, count},
        {"slab", 256, 2 << 10, count},
        {"wide", 1, 100 << 10, count / 10},
    };
    void **blocks = bookkeeping((arenas * IN_ARENA + NEAR) * sizeof *blocks);
    make_arenas(blocks, arenas);
    sleep_ms(150);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (!only || strcmp(only, operations[i].name) == 0)
            printf("%s_ns=%.3f\n", operations[i].name,
                   take_and_free(blocks, operations[i].batch, operations[i].size, operations[i].count));
}

/* ---- threads ---- */

enum { THREAD_BLOCKS = 1000 };

static pthread_barrier_t together;
static size_t count_each;

static void *replace_own(void *argument)
{
    void *blocks[THREAD_BLOCKS];
    uint64_t state = (uintptr_t)argument + 1;
    fill(blocks, THREAD_BLOCKS, 512, &state);
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    replace(blocks, THREAD_BLOCKS, count_each, 512, &state);
    pthread_barrier_wait(&together);
    return NULL;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void scale_threads(size_t count, size_t replacements)
{
    pthread_t *threads = bookkeeping(count * sizeof *threads);
    count_each = replacements / count + 1;
    pthread_barrier_init(&together, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, replace_own, (void *)i) != 0) {
            dprintf(2, "pthread_create failed\n");
            exit(1);
        }
    pthread_barrier_wait(&together);
    /* They wait once more: whoever is let go first may run for long before this thread does. */
    double start = seconds_now(), cpu = cpu_seconds();
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    printf("cpu_ns=%.3f\nwall_ns=%.3f\n", each_ns(cpu_seconds() - cpu, count_each * count),
           each_ns(seconds_now() - start, count_each * count));
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    /* Not ru_maxrss, which begins with what the process was before exec. */
    printf("peak_bytes=%ld\n", bytes_in("/proc/self/status", "VmHWM:"));
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "live";
    size_t n = (size_t)argument(argc, argv, 2, 1000), count = (size_t)argument(argc, argv, 3, 1000000);
    if (strcmp(kind, "lean") == 0)
        prepare_to_empty();
    if (strcmp(kind, "lean") == 0 || strcmp(kind, "arenas") == 0)
        scale_arenas(n, count, argc > 4 ? argv[4] : NULL);
    else if (strcmp(kind, "threads") == 0)
        scale_threads(n, count);
    else
        scale_live(n, count);
    return 0;
}
