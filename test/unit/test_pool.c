/* Pools: taking, returning, what becomes of pages, and the protocol between threads. */
#include "unit.h"

#include "../../core/release.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

enum { SMALL = 4, MIXED = 40, SLAB = 54, BIG = 90 }; /* a class of each tier */
static void *blocks[1 << 16];

TestSuite(pool, .init = core_init);

static struct pool *pool_with(const void *block, unsigned class_id) {
    return pool_of_address((uintptr_t)block, class_table[class_id].tier);
}

static unsigned take_all(unsigned class_id, unsigned want, void **out) {
    unsigned got = 0;
    while (got < want) got += pool_take(class_id, want - got, out + got, NULL);
    return got;
}

/* ---- every class ---- */

ParameterizedTestParameters(pool, pool_goes_from_free_to_full_and_back) {
    static unsigned classes[] = {1, 2, 3, 12, 32, 33, 40, 48, 49, 56, 64, 65, 72, 80, 88, 96};
    return cr_make_param_array(unsigned, classes, COUNT(classes));
}

static void check_distinct_and_ascending(unsigned class_id, unsigned n) {
    const struct class_info *info = &class_table[class_id];
    for (unsigned i = 0; i < n; i++) {
        cr_assert(pagemap_class((uintptr_t)blocks[i]) == class_id && pagemap_is_block_start((uintptr_t)blocks[i], class_id));
        cr_assert_not(pool_block_is_free(class_id, blocks[i]));
        if (i) cr_assert_geq((uintptr_t)blocks[i], (uintptr_t)blocks[i - 1] + info->block_bytes);
    }
}

ParameterizedTest(unsigned *class_id, pool, pool_goes_from_free_to_full_and_back) {
    const struct class_info *info = &class_table[*class_id];
    unsigned n = take_all(*class_id, info->blocks, blocks);
    struct pool *pool = pool_with(blocks[0], *class_id);
    check_distinct_and_ascending(*class_id, n);
    cr_assert_eq(pool_with(blocks[n - 1], *class_id), pool);
    cr_assert_eq(pool->state, POOL_FULL);
    cr_assert_eq(counters.taken_bytes, (int64_t)n * info->block_bytes);
    assert_sound();
    pool_return(*class_id, blocks, 1);
    cr_assert_eq(pool->state, n > 1 ? POOL_LISTED : POOL_FREE);
    if (n > 1) cr_assert(pool_block_is_free(*class_id, blocks[0]));
    assert_sound();
    pool_return(*class_id, blocks + 1, n - 1);
    cr_assert_eq(pool->state, POOL_FREE);
    cr_assert(counters.taken_bytes == 0 && counters.live_pages == 0);
    cr_assert_eq(pagemap_class((uintptr_t)blocks[0]), CLASS_FREE);
    assert_sound();
}

Test(pool, protocol_is_the_same_when_alone) {
    unit_be_alone();
    for (unsigned c = 1; c < CLASSES; c++) {
        unsigned n = take_all(c, class_table[c].blocks * 2, blocks);
        assert_sound();
        pool_return(c, blocks, n / 3);
        assert_sound();
        pool_return(c, blocks + n / 3, n - n / 3);
        assert_sound();
    }
    cr_assert_eq(counters.live_pages, 0);
}

/* ---- order ---- */

Test(pool, lowest_pool_with_a_free_block_comes_first) {
    unsigned each = class_table[SMALL].blocks, n = take_all(SMALL, 4 * each, blocks);
    void *freed[] = {blocks[3 * each], blocks[each + 5], blocks[each + 2]}, *taken[3];
    pool_return(SMALL, freed, 3);
    cr_assert_eq(pool_take(SMALL, 3, taken, NULL), 3);
    cr_assert(taken[0] == freed[2] && taken[1] == freed[1] && taken[2] == freed[0]);
    pool_return(SMALL, blocks, n);
    assert_sound();
}

Test(pool, take_gathers_from_partial_pools_before_it_begins_another) {
    unsigned each = class_table[SMALL].blocks;
    take_all(SMALL, 2 * each, blocks);
    pool_return(SMALL, blocks, 1);
    pool_return(SMALL, blocks + each, 1);
    void *taken[64];
    cr_assert_eq(pool_take(SMALL, 64, taken, NULL), 2);
    cr_assert(taken[0] == blocks[0] && taken[1] == blocks[each]);
}

Test(pool, any_order_and_number_can_be_returned) {
    uint64_t random = 5;
    unsigned n = take_all(SMALL, 1000, blocks);
    for (unsigned i = n - 1; i; i--) {
        unsigned j = (unsigned)(unit_random(&random) % (i + 1));
        void *swap = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = swap;
    }
    for (unsigned done = 0, step = 1; done < n; done += step, step = n - done < 33 ? n - done : 33) pool_return(SMALL, blocks + done, step);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

/* ---- pages ---- */

Test(pool, page_is_retained_when_its_last_block_returns) {
    unsigned n = take_all(MIXED, class_table[MIXED].blocks, blocks);
    cr_assert_eq(counters.live_pages, 4);
    for (unsigned i = 1; i < n; i++) pool_return(MIXED, blocks + i, 1);
    cr_assert_eq(counters.live_pages, 1);
    cr_assert_eq(budget_arena_pages(), 3);
    assert_sound();
    take_all(MIXED, n - 1, blocks + 1);
    cr_assert(counters.live_pages == 4 && budget_arena_pages() == 0);
    assert_sound();
}

Test(pool, block_over_two_pages_holds_both) {
    unsigned n = take_all(SLAB, class_table[SLAB].blocks, blocks), across = 0;
    while (((uintptr_t)blocks[across] & (PAGE_BYTES - 1)) + class_table[SLAB].block_bytes <= PAGE_BYTES) across++;
    struct pool *pool = pool_with(blocks[0], SLAB);
    for (unsigned i = 0; i < n; i++)
        if (i != across) pool_return(SLAB, blocks + i, 1);
    cr_assert_eq(count_bits(pool->live), count_bits(pool_pages_in_use(pool, SLAB)));
    cr_assert_geq(counters.live_pages, 2);
    assert_sound();
}

static bool is_zero_taken(unsigned class_id) {
    bool zero;
    cr_assert_eq(pool_take(class_id, 1, blocks, &zero), 1);
    if (zero)
        for (uint32_t i = 0; i < class_table[class_id].block_bytes; i++) cr_assert_eq(((char *)blocks[0])[i], 0);
    memset(blocks[0], 1, class_table[class_id].block_bytes);
    return zero;
}

Test(pool, zero_is_said_of_fresh_and_released_pages_only) {
    cr_assert(is_zero_taken(BIG));
    pool_return(BIG, blocks, 1);
    cr_assert_not(is_zero_taken(BIG), "a retained page is not zero");
    pool_return(BIG, blocks, 1);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert(is_zero_taken(BIG));
}

static size_t release_pages_of(struct pool *pool) {
    struct release r = {0};
    pool_release_pages(&r, pool);
    return release_run(&r);
}

Test(pool, pages_of_a_pool_in_use_can_be_released) {
    unsigned n = take_all(BIG, class_table[BIG].blocks, blocks);
    struct pool *pool = pool_with(blocks[0], BIG);
    memset(blocks[1], 1, class_table[BIG].block_bytes);
    pool_return(BIG, blocks + 1, n - 1);
    int64_t retained = budget_arena_pages();
    cr_assert_gt(retained, 0);
    cr_assert_eq(release_pages_of(pool), (size_t)retained);
    cr_assert_eq(pool->state, POOL_LISTED);
    cr_assert_eq(release_pages_of(pool), 0);
    assert_sound();
    cr_assert(is_zero_taken(BIG) && is_zero_taken(BIG));
}

Test(pool, leased_pool_is_left_alone) {
    take_all(BIG, 2, blocks);
    struct pool *pool = pool_with(blocks[0], BIG);
    pool_return(BIG, blocks, 1);
    cr_assert_gt(budget_arena_pages(), 0);
    pool->state = POOL_LEASED;
    cr_assert_eq(release_pages_of(pool), 0);
    cr_assert_neq(pool_take(BIG, 1, blocks, NULL), 0);
    cr_assert_neq(pool_with(blocks[0], BIG), pool);
}

ParameterizedTestParameters(pool, lease_of_a_dead_thread_is_ended) {
    static unsigned taken_of_8[] = {0, 3, 8};
    return cr_make_param_array(unsigned, taken_of_8, COUNT(taken_of_8));
}
ParameterizedTest(unsigned *taken_of_8, pool, lease_of_a_dead_thread_is_ended) {
    unsigned n = take_all(SMALL, class_table[SMALL].blocks, blocks), keep = n * *taken_of_8 / 8;
    struct pool *pool = pool_with(blocks[0], SMALL);
    pool->state = POOL_LEASED;
    pool_return(SMALL, blocks, n - keep);
    cr_assert_eq(pool->state, POOL_LEASED);
    pool_end_orphaned_lease(pool);
    cr_assert_eq(pool->state, keep == 0 ? POOL_FREE : keep == n ? POOL_FULL : POOL_LISTED);
    assert_sound();
}

Test(pool, nothing_is_taken_without_memory) {
    unit_watch_kernel();
    unit_kernel.mmaps_left = 0;
    cr_assert_eq(pool_take(SMALL, 5, blocks, NULL), 0);
    unit_kernel.mmaps_left = -1;
    cr_assert_gt(pool_take(SMALL, 5, blocks, NULL), 0);
    assert_sound();
}

/* ---- misuse ---- */

static void return_twice(void *context) {
    void *two[2] = {context, context};
    pool_return(SMALL, two, 1);
    pool_return(SMALL, two, 1);
}
static void return_twice_in_one_batch(void *context) {
    void *two[2] = {context, context};
    pool_return(SMALL, two, 2);
}

static void expect_double_free(void (*act)(void *), void *block) {
    char said[300], expected[300];
    int status = unit_in_child(act, block, said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    snprintf(expected, sizeof expected, "lowtide: double free: pointer %p (pid ", block);
    cr_assert_eq(strncmp(said, expected, strlen(expected)), 0, "%s", said);
}

Test(pool, block_returned_twice_is_reported) {
    take_all(SMALL, 20, blocks);
    expect_double_free(return_twice, blocks[7]);
    expect_double_free(return_twice_in_one_batch, blocks[7]);
}

/* ---- threads ---- */

struct shared {
    unsigned class_id;
    _Atomic(void *) place[64];
    _Atomic(int) faults;
};

/* Takes some, lays one of them out for another thread, returns what others laid out. */
static void take_and_swap(unsigned index, void *context) {
    struct shared *shared = context;
    uint64_t random = index + 99;
    for (unsigned round = 0; round < 3000; round++) {
        void *mine[8];
        unsigned n = pool_take(shared->class_id, 1 + (unsigned)(unit_random(&random) % 8), mine, NULL);
        for (unsigned i = 0; i < n; i++) *(uint64_t *)mine[i] = (uintptr_t)mine[i] ^ index;
        for (unsigned i = 0; i < n; i++)
            if (*(uint64_t *)mine[i] != ((uintptr_t)mine[i] ^ index)) atomic_fetch_add(&shared->faults, 1);
        mine[0] = atomic_exchange(&shared->place[unit_random(&random) % 64], mine[0]);
        if (mine[0])
            pool_return(shared->class_id, mine, n);
        else
            pool_return(shared->class_id, mine + 1, n - 1);
    }
}

ParameterizedTestParameters(pool, threads_share_the_pools_of_one_class) {
    static unsigned classes[] = {SMALL, 32, MIXED, SLAB, BIG, 96};
    return cr_make_param_array(unsigned, classes, COUNT(classes));
}
ParameterizedTest(unsigned *class_id, pool, threads_share_the_pools_of_one_class) {
    struct shared shared = {.class_id = *class_id};
    unit_run_threads(4, take_and_swap, &shared);
    cr_assert_eq(shared.faults, 0);
    assert_sound();
    for (unsigned i = 0; i < 64; i++) {
        void *left = shared.place[i];
        if (left) pool_return(*class_id, &left, 1);
    }
    cr_assert(counters.taken_bytes == 0 && counters.live_pages == 0);
    assert_sound();
}

/* ---- a return while the pool becomes full ---- */

enum { DUEL_ROUNDS = 50000, TWO_BLOCKS = 96 };
static struct {
    void *held;
    _Atomic(unsigned) arrived;
    unsigned lost;
} duel;

static void wait_for_both(unsigned times) {
    atomic_fetch_add(&duel.arrived, 1);
    for (unsigned spins = 0; atomic_load(&duel.arrived) < 2 * times; spins++)
        if (spins > 2000) sched_yield();
}

/* One takes the pool's last free block while the other returns the block that is out, a little later or earlier each time. Who looks
 * at the bitmap and who at the state must not miss each other: one block is free in the end, so the pool is listed. */
static void take_against_return(unsigned index, void *context) {
    uint64_t random = 1;
    void *taken = NULL;
    (void)context;
    for (unsigned round = 0; round < DUEL_ROUNDS; round++) {
        wait_for_both(2 * round + 1);
        if (index) {
            for (volatile unsigned delay = (unsigned)(unit_random(&random) % (8u << round % 7)); delay; delay--) {}
            pool_return(TWO_BLOCKS, &duel.held, 1);
        } else
            pool_take(TWO_BLOCKS, 1, &taken, NULL);
        wait_for_both(2 * round + 2);
        if (index) continue;
        duel.lost += pool_with(taken, TWO_BLOCKS)->state != POOL_LISTED;
        duel.held = taken;
    }
}

Test(pool, block_returned_while_the_pool_fills_is_not_lost) {
    cr_assert_eq(class_table[TWO_BLOCKS].blocks, 2);
    take_all(TWO_BLOCKS, 1, &duel.held);
    unit_run_threads(2, take_against_return, NULL);
    cr_assert_eq(duel.lost, 0, "%u of %u", duel.lost, DUEL_ROUNDS);
    assert_sound();
}
