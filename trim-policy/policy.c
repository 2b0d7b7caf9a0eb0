/* Default policy: the limits core begins with, and housekeeping that brings what is retained down to the soft target at most
 * every 100 ms, from slow paths, by the coarse clock. */
#include "policy.h"

#include "../core/core.h"
#include "options.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HOUSEKEEPING_MS = 100 };
#define MIB (1024 * 1024LL)

static int64_t coarse_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Each thread looks after its own magazines; whoever comes first in an interval looks after the pages. */
static void housekeep(void) {
    static _Atomic(int64_t) released_ms;
    int64_t now = coarse_ms(), last = relaxed_load(&released_ms);
    if (now - heap_current->housekept_ms < HOUSEKEEPING_MS) return;
    heap_current->housekept_ms = now;
    heap_flush(true);
    if (now - last < HOUSEKEEPING_MS || !atomic_compare_exchange_strong(&released_ms, &last, now)) return;
    budget_release_to(allowance_pages(&limits.soft));
}

static void read_number_file(const char *path, _Atomic(uint32_t) *value, uint32_t divisor) {
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long number = n > 0 ? strtol(text, NULL, 10) : 0;
    if (number > 0) relaxed_store(value, (uint32_t)(number / divisor));
}

void policy_init(void) {
    int saved = errno;
    core_check_level = options.check;
    os_keep_huge_pages = options.thp;
    os_return_lazily = options.return_how == RETURN_FREE;
    if (options.return_how != RETURN_UNMAP)
        relaxed_store(&limits.max_holes, 0);
    else
        read_number_file("/proc/sys/vm/max_map_count", &limits.max_holes, 4);
    heap_slow_path_hook = housekeep;
    errno = saved;
}

static int64_t meminfo_bytes(const char *text, const char *key) {
    const char *line = strstr(text, key);
    return line ? strtoll(line + strlen(key), NULL, 10) * 1024 : 0;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

void policy_sample(struct machine *machine) {
    char text[4096] = "";
    int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n > 0 ? n : 0] = 0;
    machine->limit_bytes = meminfo_bytes(text, "MemTotal:");
    machine->available_bytes = meminfo_bytes(text, "MemAvailable:");
    machine->min_free_bytes = smaller(1536 * MIB, machine->limit_bytes / 20);
    machine->low_watermark_bytes =
        smaller(larger((machine->min_free_bytes + machine->available_bytes) / 16 * 7, machine->min_free_bytes + 128 * MIB), machine->limit_bytes);
}
