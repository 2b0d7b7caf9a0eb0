/* Another thread's return at every instruction of the end of a lease. Pools have no locks, so a signal handler can do what the
 * other thread would; it sees LEASED and leaves the rest to whoever holds the lease. Whatever the moment, no free block may be
 * left in a pool that is not listed, and a pool that is all free goes back to its arena. */
#include "steps.h"
#include "unit.h"

#include "../../core/pool.h"

TestSuite(pool_steps, .init = core_init);

#ifdef CAN_STEP

enum { PAGE_OF_EIGHT = 32, PAGES_OF_EIGHT = 48 }; /* classes of a page and of four, with eight blocks a pool */
static unsigned class_id;
static void *all[8];
static struct pool *pool;

static void return_block(unsigned i) { pool_return(class_id, &all[i], 1); }
static void return_first(void) { return_block(0); }
static void end_lease(void) { pool_unlease(pool); }

static void take_pool(void) {
    unsigned got = 0;
    while (got < COUNT(all)) got += pool_take(class_id, COUNT(all) - got, all + got, NULL);
    pool = pool_of_address((uintptr_t)all[0], class_table[class_id].tier);
    for (unsigned i = 0; i < COUNT(all); i++) cr_assert_eq(pool_of_address((uintptr_t)all[i], class_table[class_id].tier), pool);
    cr_assert_eq(pool->state, POOL_FULL);
}

/* As whoever releases pages of a pool in use. */
static void lease(void) { cr_assert(state_change(&pool->state, POOL_FULL, POOL_LEASED)); }

static void begin(unsigned class) {
    handle_steps();
    in_handler = return_first;
    class_id = class;
    cr_assert_eq(class_table[class].blocks, COUNT(all));
}

/* The block is found at the next take, in the pool where it is. */
static void step_through_full(unsigned class) {
    begin(class);
    take_pool();
    bool is_inside = true;
    for (unsigned at = 1; is_inside; at++) {
        lease();
        is_inside = interrupt(end_lease, at);
        if (!is_inside) return_first();
        cr_assert_eq(pool->state, POOL_LISTED, "instruction %u: state %u", at, pool->state);
        void *block = NULL;
        pool_take(class, 1, &block, NULL);
        cr_assert_eq(block, all[0], "instruction %u: the pool is not found", at);
    }
    assert_sound();
}

/* All others were returned before: the pool is free, whoever returned the last. */
static void step_through_free(unsigned class) {
    begin(class);
    bool is_inside = true;
    for (unsigned at = 1; is_inside; at++) {
        take_pool();
        lease();
        for (unsigned i = 1; i < COUNT(all); i++) return_block(i);
        is_inside = interrupt(end_lease, at);
        if (!is_inside) return_first();
        cr_assert_eq(pool->state, POOL_FREE, "instruction %u: state %u", at, pool->state);
        cr_assert_eq(counters.live_pages, 0, "instruction %u", at);
    }
    assert_sound();
}

/* Both blocks of the last page come back while the pool is leased, then, as soon as it is FULL, one of two on the first page:
 * who returns that one lists the pool, and answers for the last page, too. */
static void wait_until_full(void) {
    if (pool->state == POOL_LEASED)
        signal_at = steps + 1;
    else if (pool->state == POOL_FULL)
        return_first();
}
static void return_last_page(void) {
    return_block(7);
    return_block(6);
    in_handler = wait_until_full;
    wait_until_full();
}

Test(pool_steps, pages_that_became_free_under_a_lease) {
    bool is_inside = true;
    unsigned listed = 0;
    for (unsigned at = 1; is_inside; at++) {
        begin(PAGES_OF_EIGHT);
        take_pool();
        lease();
        in_handler = return_last_page;
        is_inside = interrupt(end_lease, at);
        listed += is_inside && pool_block_is_free(class_id, all[0]);
        cr_assert_eq(pool->live, pool_pages_in_use(pool, class_id), "instruction %u: pages %lx are live", at, (long)pool->live);
        for (unsigned i = 0; i < COUNT(all); i++)
            if (!pool_block_is_free(class_id, all[i])) return_block(i);
    }
    cr_assert_gt(listed, 0);
    assert_sound();
}

Test(pool_steps, block_returned_to_a_full_page) { step_through_full(PAGE_OF_EIGHT); }
Test(pool_steps, block_returned_to_a_full_slab) { step_through_full(PAGES_OF_EIGHT); }
Test(pool_steps, last_block_of_a_page) { step_through_free(PAGE_OF_EIGHT); }
Test(pool_steps, last_block_of_a_slab) { step_through_free(PAGES_OF_EIGHT); }

#endif
