/* Pages of many pools go with few system calls, and come out of it as the kernel says. */
#include "unit.h"

#include "../../core/release.h"

#include <sys/syscall.h>
#include <unistd.h>

TestSuite(release, .init = core_init);

enum { SMALL_CLASS = 32 /* 512 bytes: 8 blocks a page */, PAGES = 640, BLOCKS = PAGES * 8 };
static void *blocks[BLOCKS];
static unsigned calls;
static long (*below)(const struct iovec *ranges, unsigned n);

static long count_call(const struct iovec *ranges, unsigned n) {
    calls++;
    cr_assert_leq(n, OS_RANGES);
    return below(ranges, n);
}

static bool is_page(const void *block) { return (uintptr_t)block % PAGE_BYTES == 0; }

/* Every other page is free and resident. */
static void make_holes(void) {
    unit_watch_kernel();
    unsigned got = 0;
    while (got < BLOCKS) got += pool_take(SMALL_CLASS, BLOCKS - got < 64 ? BLOCKS - got : 64, blocks + got, NULL);
    for (unsigned i = 0; i < BLOCKS; i++) {
        memset(blocks[i], 1, 16);
        if (!((uintptr_t)blocks[i] / PAGE_BYTES % 2)) pool_return(SMALL_CLASS, &blocks[i], 1);
    }
    below = os_calls.release_ranges;
    os_calls.release_ranges = count_call;
}

static int64_t retained(void) { return relaxed_load(&counters.retained_pages[0]); }

Test(release, runs_of_many_arenas_go_together) {
    make_holes();
    cr_assert_eq(class_table[SMALL_CLASS].block_bytes, 512);
    cr_assert_eq(retained(), PAGES / 2);
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), PAGES / 2);
    cr_assert_eq(retained(), 0);
    cr_assert(calls >= PAGES / 2 / OS_RANGES && calls <= PAGES / 2 / (OS_RANGES / 2) + 1, "%u calls", calls);
    assert_sound();
}

Test(release, no_more_is_released_than_asked_for) {
    make_holes();
    for (int64_t left = PAGES / 2; left > 0;) {
        size_t done = arena_release(10, ALL_TIERS);
        cr_assert(done >= 10 || left < 10, "%zu", done);
        left -= (int64_t)done;
        cr_assert_eq(retained(), left);
    }
}

/* The highest arenas are looked at first: what is locked there is not the end of it. */
Test(release, what_is_locked_stays_and_others_go_in_its_place) {
    make_holes();
    unsigned locked = 0;
    for (unsigned i = BLOCKS; i-- && locked < 100;)
        if (is_page(blocks[i]) && !((uintptr_t)blocks[i] / PAGE_BYTES % 2)) {
            cr_assert_eq(syscall(SYS_mlock, blocks[i], PAGE_BYTES), 0);
            locked++;
        }
    cr_assert_geq(arena_release(50, ALL_TIERS), 50);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert_eq(retained(), locked);
    assert_sound();
    for (unsigned i = 0; i < BLOCKS; i++)
        if (is_page(blocks[i])) syscall(SYS_munlock, blocks[i], PAGE_BYTES);
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), locked);
}

/* While it collects, and whoever watches madvise takes and returns blocks of the same arenas. */
static void take_and_return(void) {
    void *block[40];
    unsigned got = pool_take(SMALL_CLASS, COUNT(block), block, NULL);
    cr_assert_gt(got, 0);
    for (unsigned i = 0; i < got; i++) memset(block[i], 2, 512);
    pool_return(SMALL_CLASS, block, got);
}

Test(release, blocks_come_and_go_meanwhile) {
    make_holes();
    unit_kernel.on_call = take_and_return;
    arena_release(SIZE_MAX, ALL_TIERS);
    unit_kernel.on_call = NULL;
    assert_sound();
    for (unsigned i = 0; i < BLOCKS; i++)
        if ((uintptr_t)blocks[i] / PAGE_BYTES % 2) cr_assert_eq(*(char *)blocks[i], 1);
}
