/* What the programs of this folder share: a clock, true resident memory, random numbers, and room
 * for bookkeeping that the measured allocator does not see.
 *
 * Each program prints lines of key=value and nothing else. Resident memory is the Rss line of
 * /proc/self/smaps_rollup, which the kernel counts page by page: the counter behind VmRSS is kept
 * for each thread and may lag. Nothing in here allocates.
 */
#ifndef LOWTIDE_BENCH_H
#define LOWTIDE_BENCH_H

#include <fcntl.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Of the line that begins with `key` ("Rss:"), which counts kilobytes, in a file of the kernel's; -1 without it. */
static inline long bytes_in(const char *file, const char *key)
{
    char text[4096];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (length <= 0)
        return -1;
    text[length] = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, strlen(key)) == 0)
            return strtol(line + strlen(key), NULL, 10) * 1024;
    }
    return -1;
}

static inline long resident_bytes(void)
{
    return bytes_in("/proc/self/smaps_rollup", "Rss:");
}

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* xorshift64*, the same sequence on every machine. */
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ULL;
}

static inline size_t random_between(uint64_t *state, size_t low, size_t high)
{
    return low + random_next(state) % (high - low + 1);
}

/* Resident from the start, so that it is part of the base line and of no difference. */
static inline void *bookkeeping(size_t bytes)
{
    void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (area == MAP_FAILED) {
        dprintf(2, "bookkeeping: no memory\n");
        exit(1);
    }
    return area;
}

static inline void *allocate(size_t size)
{
    void *block = malloc(size);
    if (!block) {
        dprintf(2, "malloc(%zu) failed\n", size);
        exit(1);
    }
    return block;
}

static inline void shuffle(void **items, size_t count, uint64_t *state)
{
    for (size_t i = count; i > 1; i--) {
        size_t k = random_next(state) % i;
        void *item = items[i - 1];
        items[i - 1] = items[k];
        items[k] = item;
    }
}

static inline long argument(int argc, char **argv, int index, long otherwise)
{
    return index < argc ? strtol(argv[index], NULL, 10) : otherwise;
}

/* Resident memory above `base` at the three moments that matter after a peak: on return of the last
 * free (read by the caller: printf may allocate), asleep, and after malloc_trim. */
static inline void print_after(long base, long at_once)
{
    sleep_ms(150);
    long asleep = resident_bytes() - base;
    double start = seconds_now();
    malloc_trim(0);
    double trim_s = seconds_now() - start;
    long trimmed = resident_bytes() - base;
    printf("at_once_bytes=%ld\nasleep_bytes=%ld\ntrimmed_bytes=%ld\ntrim_s=%.6f\n", at_once, asleep,
           trimmed, trim_s);
}

#endif
