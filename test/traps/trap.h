/* What the trap programs share: a check that says where it failed, readers of /proc that use no heap, and a generator. */
#ifndef LOWTIDE_TEST_TRAP_H
#define LOWTIDE_TEST_TRAP_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : trap_fail(__FILE__, __LINE__, #x))
#define KIB 1024ul
#define MIB (1024ul * 1024)

static void trap_fail(const char *file, int line, const char *what) __attribute__((noreturn, unused));
static void trap_fail(const char *file, int line, const char *what) {
    dprintf(STDERR_FILENO, "%s:%d: %s (errno %d)\n", file, line, what, errno);
    _exit(1);
}

/* xorshift: the same sequence on every machine. */
static inline uint64_t trap_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static inline long trap_now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The number behind `key` in a small file of /proc, in bytes where the file says kB; -1 when it is not there. */
__attribute__((unused)) static long trap_proc_bytes(const char *path, const char *key) {
    char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return -1;
    text[n] = 0;
    char *at = strstr(text, key);
    return at ? strtol(at + strlen(key), NULL, 10) * 1024 : -1;
}

/* smaps_rollup is exact; statm and status lag by some pages a core. */
__attribute__((unused)) static long trap_rss_bytes(void) { return trap_proc_bytes("/proc/self/smaps_rollup", "\nRss:"); }

/* Fills a block so that it can be recognised later by its size and a tag. */
__attribute__((unused)) static void trap_fill(void *p, size_t bytes, unsigned tag) { memset(p, (int)(tag * 131 + bytes) & 0xff, bytes); }
__attribute__((unused)) static bool trap_is_filled(const void *p, size_t bytes, unsigned wanted_tag, size_t filled_bytes) {
    const unsigned char *c = p, want = (unsigned char)(wanted_tag * 131 + filled_bytes);
    for (size_t i = 0; i < bytes; i++)
        if (c[i] != want) return false;
    return true;
}

#endif
