/* What the programs of the suite share beyond bench.h: a scale, and the count of live bytes.
 *
 * Each program takes its scale in percent as the first argument; 100 is half a second to two
 * seconds of work. It prints key=value lines: `check` is the same under every allocator, `idle_s`
 * is time that it slept on purpose.
 *
 * Live bytes are what the program asked for and has not given back, with its own bookkeeping. They
 * are published in the file BENCH_LIVE names, a thread's changes together, so that counting costs
 * an addition and a branch and is the same whether or not somebody reads. */
#ifndef LOWTIDE_SUITE_H
#define LOWTIDE_SUITE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "../bench.h"

enum { LIVE_CHANGES = 256, LIVE_BYTES = 1 << 16 };

/* Alone in its cache line: otherwise the programs' variables beside it would share it. */
static _Alignas(64) _Atomic long live_unread[8];
static _Atomic long *live_published = live_unread;
static _Thread_local long live_pending;
static _Thread_local unsigned live_changes;
static long suite_scale;

/* A thread calls it once more before it ends. */
static inline void live_flush(void) {
    atomic_fetch_add_explicit(live_published, live_pending, memory_order_relaxed);
    live_pending = 0;
    live_changes = 0;
}

static inline void live_change(long bytes) {
    live_pending += bytes;
    if (++live_changes >= LIVE_CHANGES || live_pending > LIVE_BYTES || live_pending < -LIVE_BYTES)
        live_flush();
}

static inline void suite_begin(int argc, char **argv) {
    suite_scale = argument(argc, argv, 1, 100);
    const char *file = getenv("BENCH_LIVE");
    int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *shared = mmap(NULL, sizeof *live_published, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) live_published = shared;
    close(fd);
}

static inline long scaled(long full) {
    long part = full * suite_scale / 100;
    return part > 0 ? part : 1;
}

/* Whether the argument at `index` is this word. */
static inline bool asked_for(int argc, char **argv, int index, const char *word) {
    return index < argc && strcmp(argv[index], word) == 0;
}

/* A table of the program's own, counted as live for as long as it runs. */
static inline void *table(size_t bytes) {
    live_change((long)bytes);
    return bookkeeping(bytes);
}

static inline void *take(size_t size) {
    live_change((long)size);
    return allocate(size);
}

static inline void drop(void *block, size_t size) {
    live_change(-(long)size);
    free(block);
}

/* As a program fills in a small structure: its first words, of the size asked for. */
static inline void *take_touched(size_t size, uint64_t value) {
    uint64_t *block = take(size);
    block[0] = value;
    if (size >= 16) block[1] = value;
    return block;
}

static inline void print_check(uint64_t check) {
    live_flush();
    printf("check=%llu\n", (unsigned long long)check);
}

static inline void start_threads(pthread_t *threads, size_t count, void *(*run)(void *)) {
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, (void *)i) != 0) {
            dprintf(2, "pthread_create failed\n");
            exit(1);
        }
}

static inline void join_threads(pthread_t *threads, size_t count) {
    for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
}

#endif
