/* How densely blocks stay packed while they are replaced: packing [KIND] [LIVE_MB] [TURNOVERS]
 *
 *   random      sizes of 16..512 bytes; the block that goes is any
 *   lognormal   log-normal sizes to 64 KiB and log-normal lifetimes, independently
 *   shifting    as random, but sizes from a sixteenth of that range, which moves on by its own width with each turnover
 *
 * Live bytes stay near LIVE_MB; a turnover is as many bytes allocated. After 10, 30 and 100 turnovers, those of them that are
 * not more than TURNOVERS, resident memory above the start is set against the live bytes. Last comes what the allocator says of
 * itself. */
#include <stdbool.h>

#include "lognormal.h"
#include "statistics.h"

enum { SMALLEST = 16, LARGEST = 512, WINDOW = (LARGEST - SMALLEST) / 16, DRAWS = 1 << 16, LARGEST_DRAW = 64 << 10 };

struct block {
    struct block *next; /* that dies at the same time */
    uint32_t size;
};

static size_t live_bytes, allocated_bytes, target_bytes;
static uint64_t state = 1;

static struct block *make(size_t size)
{
    struct block *block = memset(allocate(size), 1, size);
    block->size = (uint32_t)size;
    live_bytes += size;
    allocated_bytes += size;
    return block;
}

static void drop(struct block *block)
{
    live_bytes -= block->size;
    free(block);
}

/* ---- any block goes ---- */

static struct block **blocks;
static size_t block_count;

static void replace_until(size_t allocated, bool shifting)
{
    while (allocated_bytes < allocated) {
        size_t low = SMALLEST, high = LARGEST;
        if (shifting) {
            low += allocated_bytes * WINDOW / target_bytes % (LARGEST - SMALLEST);
            high = low + WINDOW < LARGEST ? low + WINDOW : LARGEST;
        }
        blocks[block_count++] = make(random_between(&state, low, high));
        while (live_bytes > target_bytes) {
            size_t victim = random_next(&state) % block_count;
            drop(blocks[victim]);
            blocks[victim] = blocks[--block_count];
        }
    }
}

/* ---- blocks with a lifetime, counted in allocations ---- */

static uint32_t sizes[DRAWS], lifetimes[DRAWS];
static struct block **wheel;
static size_t wheel_slots, now;

/* With these medians and deviations 64 MB are live when the median lifetime is 33,000 allocations. */
static void draw_all(size_t live_mb)
{
    double median = 33000.0 * (double)live_mb / 64;
    wheel_slots = (4UL << 20) * live_mb / 64;
    wheel = bookkeeping(wheel_slots * sizeof *wheel);
    for (size_t i = 0; i < DRAWS; i++) {
        sizes[i] = draw_lognormal(&state, 80, 1.3, sizeof(struct block), LARGEST_DRAW);
        lifetimes[i] = draw_lognormal(&state, median, 2.5, 1, (double)wheel_slots - 1);
    }
}

static void live_and_die_until(size_t allocated)
{
    for (; allocated_bytes < allocated; now++) {
        uint64_t random = random_next(&state);
        struct block **dies = &wheel[(now + lifetimes[(random >> 32) % DRAWS]) % wheel_slots];
        struct block *block = make(sizes[random % DRAWS]);
        block->next = *dies;
        *dies = block;
        struct block *dead = wheel[now % wheel_slots];
        wheel[now % wheel_slots] = NULL;
        while (dead) {
            struct block *next = dead->next;
            drop(dead);
            dead = next;
        }
    }
}

static void measure(size_t turnover, long base)
{
    long resident = resident_bytes() - base;
    printf("live_%zu_bytes=%zu\nresident_%zu_bytes=%ld\nratio_%zu=%.4f\n", turnover, live_bytes, turnover, resident,
           turnover, (double)resident / (double)live_bytes);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "random";
    size_t live_mb = (size_t)argument(argc, argv, 2, 64);
    size_t turnovers = (size_t)argument(argc, argv, 3, 100);
    bool dies_of_age = strcmp(kind, "lognormal") == 0, shifting = strcmp(kind, "shifting") == 0;
    target_bytes = live_mb * 1000000;
    if (dies_of_age)
        draw_all(live_mb);
    else
        blocks = bookkeeping((target_bytes / SMALLEST + 1) * sizeof *blocks);
    long base = resident_bytes();
    const size_t moments[] = {10, 30, 100};
    for (size_t i = 0; i < sizeof moments / sizeof *moments && moments[i] <= turnovers; i++) {
        if (dies_of_age)
            live_and_die_until(moments[i] * target_bytes);
        else
            replace_until(moments[i] * target_bytes, shifting);
        measure(moments[i], base);
    }
    printf("live_bytes=%zu\nrss_bytes=%ld\n", live_bytes, resident_bytes() - base);
    print_statistics();
    return 0;
}
