/* What happens within some nanoseconds, tried until it has happened.
 *
 * A block comes back at the moment when a lease ends: "set mine, then look at the other's" on both sides. Where the store of the
 * state may be overtaken by the look at the bitmap (x86 does that without a fence), both miss each other now and then: the pool
 * stays FULL with a free block that nobody finds.
 *
 * Two threads return the same block, the last that was taken of its pool: who is the second may have found the pool in use, and find
 * it retired when it comes to set the block's bit. */
#include "unit.h"

#include "../../core/pool.h"

#include <sched.h>

enum { CLASS = 32, BLOCKS_OF_CLASS = 8, ROUNDS = 50000 };

struct race {
    struct pool *pool;
    void *block;
    _Atomic(unsigned) begun, ended; /* rounds, of the leaseholder and of who returns */
    unsigned left_full;
    /* Written by both: a store to a line that the other processor has takes long, and the leaseholder's next store, that of the
     * state, waits behind it. */
    _Atomic(unsigned) slow __attribute__((aligned(2 * CACHE_LINE)));
    char apart[CACHE_LINE];
};

static void wait_for(_Atomic(unsigned) *count, unsigned n) {
    for (unsigned spins = 1; atomic_load(count) < n; spins++)
        if (spins % 20000 == 0) sched_yield();
}

static void spin(unsigned n) {
    while (n--) atomic_signal_fence(memory_order_seq_cst);
}

static void end_leases(struct race *r) {
    for (unsigned round = 1; round <= ROUNDS; round++) {
        cr_assert(state_change(&r->pool->state, POOL_FULL, POOL_LEASED));
        atomic_store(&r->begun, round);
        spin(round % 67 * 8);
        relaxed_store(&r->slow, round);
        pool_unlease(r->pool);
        wait_for(&r->ended, round);
        if (r->pool->state == POOL_FULL) {
            r->left_full++;
            cr_assert(state_change(&r->pool->state, POOL_FULL, POOL_LEASED));
            pool_unlease(r->pool);
        }
        void *block = NULL;
        cr_assert_eq(pool_take(CLASS, 1, &block, NULL), 1);
        cr_assert_eq(block, r->block);
    }
}

static void return_blocks(struct race *r) {
    for (unsigned round = 1; round <= ROUNDS; round++) {
        relaxed_store(&r->slow, round);
        wait_for(&r->begun, round);
        spin(round % 61 * 4);
        pool_return(CLASS, &r->block, 1);
        atomic_store(&r->ended, round);
    }
}

/* On a processor of its own, as far as there are two. */
static void settle_down(unsigned index) {
    cpu_set_t all, own;
    CPU_ZERO(&own);
    if (sched_getaffinity(0, sizeof all, &all) || CPU_COUNT(&all) < 2) return;
    size_t cpu = 0;
    for (unsigned seen = 0;; cpu++)
        if (CPU_ISSET(cpu, &all) && seen++ == index) break;
    CPU_SET(cpu, &own);
    sched_setaffinity(0, sizeof own, &own);
}

static void act(unsigned index, void *context) {
    settle_down(index);
    index ? return_blocks(context) : end_leases(context);
}

Test(pool_race, block_returned_while_a_lease_ends, .init = core_init) {
    void *all[BLOCKS_OF_CLASS];
    unsigned got = 0;
    while (got < COUNT(all)) got += pool_take(CLASS, COUNT(all) - got, all + got, NULL);
    struct race r = {.block = all[0]};
    r.pool = pool_of_address((uintptr_t)all[0], class_table[CLASS].tier);
    cr_assert_eq(r.pool->state, POOL_FULL);
    unit_run_threads(2, act, &r);
    cr_assert_eq(r.left_full, 0, "%u of %u times nobody saw the free block", r.left_full, ROUNDS);
    assert_sound();
}

#ifndef UNIT_UNDER_TSAN /* it would tell the mistake */

struct mistake {
    unsigned class_id;
    void *block;
    _Atomic(unsigned) begun, ended; /* rounds; the latter by both */
    _Atomic(unsigned) found;
    unsigned unseen;
};

static void return_one(void *mistake) {
    struct mistake *m = mistake;
    pool_return(m->class_id, &m->block, 1);
}

static void return_the_same(unsigned index, void *context) {
    struct mistake *m = context;
    settle_down(index);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        if (!index) {
            cr_assert_eq(pool_take(m->class_id, 1, &m->block, NULL), 1);
            atomic_store(&m->found, 0);
            atomic_store(&m->begun, round);
        } else {
            wait_for(&m->begun, round);
        }
        spin((index ? round % 61 : round % 67) * 4);
        if (unit_is_misuse(return_one, m)) atomic_fetch_add(&m->found, 1);
        atomic_fetch_add(&m->ended, 1);
        wait_for(&m->ended, 2 * round);
        if (!index) m->unseen += atomic_load(&m->found) != 1;
    }
}

ParameterizedTestParameters(pool_race, block_returned_by_two_at_once) {
    static unsigned classes[] = {CLASS, SMALL_CLASSES + 1, CLASSES - 1};
    return cr_make_param_array(unsigned, classes, COUNT(classes));
}

ParameterizedTest(unsigned *class_id, pool_race, block_returned_by_two_at_once, .init = core_init) {
    struct mistake m = {.class_id = *class_id};
    unit_run_threads(2, return_the_same, &m);
    cr_assert_eq(m.unseen, 0, "%u of %u mistakes were not found", m.unseen, ROUNDS);
    count_add(&counters.taken_bytes, (int64_t)ROUNDS * class_table[m.class_id].block_bytes); /* for what came back once too often */
    assert_sound();
}

#endif
