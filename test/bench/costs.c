/* What the kernel takes for the calls that an allocator makes, no allocator involved: costs [BUSY] [ROUNDS]
 *
 * Microseconds of one call, on pages that are resident, and of one page's first touch. Beside a thread of the same process that
 * is busy on another core each release has to interrupt that core as well; both stay where
 * they are. A call that the kernel does not have is not printed. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "bench.h"

enum { PAGE = 4096, RANGES = 64, AREA_PAGES = 4096, LARGEST_MOVE = 1024, APART = 16 };

static _Atomic bool done;
static char *area; /* AREA_PAGES, mapped once */
static long rounds;

/* The n-th of the cores that the process may use; without as many nothing is changed. */
static void stay_on_core(int n)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return;
    for (size_t core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && n-- == 0) {
            CPU_SET(core, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        }
}

static void *be_busy(void *unused)
{
    stay_on_core(1);
    while (!atomic_load_explicit(&done, memory_order_relaxed)) {
    }
    return unused;
}

static char *map(size_t pages)
{
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        dprintf(2, "mmap failed\n");
        exit(1);
    }
    return at;
}

/* The microseconds of one page. */
static double touch(char *at, size_t pages)
{
    double start = seconds_now();
    for (size_t i = 0; i < pages; i++)
        *(volatile char *)(at + i * PAGE) = 1;
    return (seconds_now() - start) / (double)pages * 1e6;
}

static void print_touches(void)
{
    double first = 0, again = 0;
    for (long round = 0; round < rounds; round++) {
        char *fresh = map(AREA_PAGES);
        first += touch(fresh, AREA_PAGES);
        munmap(fresh, AREA_PAGES * PAGE);
        madvise(area, AREA_PAGES * PAGE, MADV_DONTNEED);
        again += touch(area, AREA_PAGES);
    }
    printf("first_touch_us=%.4f\ntouch_again_us=%.4f\n", first / (double)rounds, again / (double)rounds);
}

/* Ranges of `pages` with as many pages between them, as many of them as the area has room for. */
static void print_dontneed(size_t pages)
{
    double run_s = 0;
    long calls = 0;
    for (long round = 0; round < rounds; round++) {
        touch(area, AREA_PAGES);
        double start = seconds_now();
        for (size_t at = 0; at + pages <= AREA_PAGES; at += 2 * pages, calls++)
            madvise(area + at * PAGE, pages * PAGE, MADV_DONTNEED);
        run_s += seconds_now() - start;
    }
    printf("dontneed_%zu_us=%.4f\n", pages, run_s / (double)calls * 1e6);
}

/* Every other range of a mapping, as of scattered memory. */
static void print_munmap(size_t pages)
{
    double run_s = 0;
    long calls = 0;
    for (long round = 0; round < rounds; round++) {
        char *fresh = map(AREA_PAGES);
        touch(fresh, AREA_PAGES);
        double start = seconds_now();
        for (size_t at = 0; at + pages <= AREA_PAGES; at += 2 * pages, calls++)
            munmap(fresh + at * PAGE, pages * PAGE);
        run_s += seconds_now() - start;
        munmap(fresh, AREA_PAGES * PAGE);
    }
    printf("munmap_%zu_us=%.4f\n", pages, run_s / (double)calls * 1e6);
}

/* To and fro between places that lie differently in 2 MiB, or the kernel would move whole page tables. */
static void print_move(size_t pages)
{
    char *room = map(2 * LARGEST_MOVE + APART);
    char *from = map(pages), *to = room;
    double run_s = 0;
    touch(from, pages);
    for (long i = 0; i < 16 * rounds; i++) {
        to = i % 2 ? room + (LARGEST_MOVE + APART) * PAGE : room;
        double start = seconds_now();
        void *moved = mremap(from, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
        run_s += seconds_now() - start;
        if (moved == MAP_FAILED)
            return;
        from = moved;
    }
    munmap(room, (2UL * LARGEST_MOVE + APART) * PAGE);
    printf("move_%zu_us=%.4f\n", pages, run_s / (double)(16 * rounds) * 1e6);
}

/* One call for RANGES ranges; on the process itself since Linux 6.13. */
static void print_batch(size_t pages)
{
#if defined SYS_process_madvise && defined SYS_pidfd_open
    struct iovec ranges[RANGES];
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    double run_s = 0;
    for (size_t i = 0; i < RANGES; i++)
        ranges[i] = (struct iovec){area + 2 * i * pages * PAGE, pages * PAGE};
    for (long i = 0; i < 16 * rounds; i++) {
        touch(area, 2 * RANGES * pages);
        double start = seconds_now();
        long advised = syscall(SYS_process_madvise, self, ranges, (size_t)RANGES, MADV_DONTNEED, 0U);
        run_s += seconds_now() - start;
        if (advised != (long)(RANGES * pages * PAGE))
            return;
    }
    close(self);
    printf("batch_%zu_us=%.4f\n", pages, run_s / (double)(16 * rounds) * 1e6);
#else
    (void)pages;
#endif
}

int main(int argc, char **argv)
{
    long busy = argument(argc, argv, 1, 0);
    rounds = argument(argc, argv, 2, 20);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    area = map(AREA_PAGES);
    pthread_t thread;
    /* This thread chooses its core afterwards: a new one would inherit it, and have no other to choose. */
    if (busy && pthread_create(&thread, NULL, be_busy, NULL) != 0)
        return 1;
    sleep_ms(busy ? 10 : 0);
    stay_on_core(0);
    print_touches();
    const size_t pages[] = {1, 2, 16, 64};
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        print_dontneed(pages[i]);
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        print_munmap(pages[i]);
    for (size_t moved = 16; moved <= LARGEST_MOVE; moved *= 4)
        print_move(moved);
    print_batch(1);
    print_batch(2);
    atomic_store(&done, true);
    return 0;
}
