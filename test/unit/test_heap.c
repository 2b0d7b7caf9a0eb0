/* Heaps: a thread's magazines, from its first block to its end. */
#include "unit.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(heap, .init = core_init);

static unsigned capacity(unsigned class_id) { return heap_current->desk[class_id].capacity; }
static void *blocks[1 << 16];

static void allocate(unsigned n, size_t bytes) {
    for (unsigned i = 0; i < n; i++) cr_assert_not_null(blocks[i] = core_malloc(bytes));
}
static void release(unsigned n) {
    for (unsigned i = 0; i < n; i++) core_free(blocks[i]);
}

static unsigned opened, slow_paths;
static void note_opened(void) { opened++; }
static void note_slow_path(void) { slow_paths++; }

Test(heap, first_block_opens_one_heap) {
    heap_opened_hook = note_opened;
    cr_assert_eq(heap_current, &heap_none);
    core_free(core_malloc(16));
    core_free(core_malloc(600));
    cr_assert(heap_current != &heap_none && heap_current != &heap_gone);
    cr_assert(opened == 1 && counters.heaps_open == 1 && heap_count == 1);
    cr_assert_eq(counters.metadata_bytes, (int64_t)(os_round_up(sizeof(struct group)) * 2 + heap_bytes()));
}

Test(heap, freed_block_is_the_next_one) {
    allocate(3, 48);
    core_free(blocks[1]);
    cr_assert_eq(core_malloc(40), blocks[1]);
    core_free(blocks[0]);
    core_free(blocks[2]);
    cr_assert(core_malloc(48) == blocks[2] && core_malloc(48) == blocks[0]);
}

Test(heap, capacity_doubles_with_use_up_to_the_classes_most) {
    unsigned steps[] = {7, 15, 31, 63, 127, 127}, c = class_of_request(64);
    for (unsigned i = 0; i < COUNT(steps); i++) {
        allocate(1, 64);
        cr_assert_eq(capacity(c), steps[i]);
        while (heap_waiting_blocks(c)) allocate(1, 64);
    }
    cr_assert_eq(counters.capacity_bytes, 127 * 64);
    cr_assert_eq(heap_current->capacity_pages, 127);
}

Test(heap, full_magazine_spills_its_older_half) {
    unsigned c = class_of_request(64);
    allocate(1000, 64);
    heap_flush(false);
    for (unsigned i = 0; i < 1000 && capacity(c) < 127; i++) core_free(blocks[i]);
    cr_assert_leq(heap_waiting_blocks(c), 127);
    unsigned spilled = 0, next = 0;
    while (pagemap_class((uintptr_t)blocks[next]) == c && (pool_block_is_free(c, blocks[next]) || heap_holds(c, blocks[next]))) next++;
    for (; next < 1000; next++) core_free(blocks[next]);
    unsigned waiting = (unsigned)heap_waiting_blocks(c);
    cr_assert(waiting >= 63 && waiting <= 127, "%u wait", waiting);
    for (unsigned i = 1000 - waiting; i < 1000; i++) cr_assert(heap_holds(c, blocks[i]), "the youngest stay");
    for (unsigned i = 0; i < 1000 - waiting; i++) spilled += !heap_holds(c, blocks[i]);
    cr_assert_eq(spilled, 1000 - waiting);
    assert_sound();
}

Test(heap, refilled_blocks_come_lowest_first) {
    allocate(500, 64);
    for (unsigned i = 1; i < 200; i++)
        if (i != 64 && i != 128) cr_assert_lt(blocks[i - 1], blocks[i]);
}

Test(heap, one_large_block_waits) {
    allocate(2, 40000);
    unsigned c = class_of_request(40000);
    cr_assert_eq(capacity(c), 1);
    release(2);
    cr_assert_eq(heap_waiting_blocks(c), 1);
    assert_sound();
}

/* One small block is always allowed; forty pages are not where the share is less. */
Test(heap, no_large_block_waits_beyond_the_share) {
    unsigned large = class_of_request(128 << 10), small = class_of_request(64);
    relaxed_store(&limits.magazine.base_pages, 8);
    relaxed_store(&limits.magazine.share256, 0);
    relaxed_store(&limits.guarantee.base_pages, 0);
    allocate(2000, 64);
    for (unsigned i = 0; i < 2000; i++)
        if (i % 16) core_free(blocks[i]); /* sparse */
    cr_assert_not(budget_has_magazine_room(0));
    void *p[3];
    for (unsigned i = 0; i < COUNT(p); i++) cr_assert_not_null(p[i] = core_malloc(128 << 10));
    for (unsigned i = 0; i < COUNT(p); i++) core_free(p[i]);
    cr_assert(capacity(large) == 0 && heap_waiting_blocks(large) == 0);
    cr_assert_geq(capacity(small), 1);
    assert_sound();
}

Test(heap, flush_returns_all_blocks) {
    for (size_t bytes = 16; bytes < 20000; bytes += bytes / 2) {
        allocate(100, bytes);
        release(100);
    }
    cr_assert_gt(counters.taken_bytes, 0);
    heap_flush(false);
    cr_assert(counters.taken_bytes == 0 && counters.capacity_bytes == 0 && heap_current->capacity_pages == 0);
    cr_assert_eq(heap_current->classes_in_use, 0);
    assert_sound();
}

Test(heap, idle_flush_spares_what_was_used_since_the_last) {
    unsigned idle = class_of_request(32), busy = class_of_request(64);
    allocate(20, 32);
    release(20);
    heap_flush(true);
    cr_assert_gt(heap_waiting_blocks(idle), 0, "used until just now");
    allocate(20, 64);
    release(20);
    heap_flush(true);
    cr_assert_eq(heap_waiting_blocks(idle), 0);
    cr_assert_gt(heap_waiting_blocks(busy), 0);
    assert_sound();
}

Test(heap, slow_path_hook_is_called_now_and_then) {
    heap_slow_path_hook = note_slow_path;
    for (unsigned i = 0; i < 20; i++) {
        allocate(300, 16);
        release(300);
    }
    uint64_t slow = heap_current->refills + heap_current->spills;
    cr_assert_eq(slow_paths, slow / 16);
    cr_assert_gt(slow_paths, 0);
}

static void allocate_in_hook(void) {
    static unsigned depth;
    if (depth++ == 0) {
        void *p[200];
        for (unsigned i = 0; i < 200; i++) memset(p[i] = core_malloc(16 + i), 1, 16);
        for (unsigned i = 0; i < 200; i++) core_free(p[i]);
    }
    depth--;
}

/* Hooks and whoever wraps the kernel's calls may allocate. */
Test(heap, hooks_and_kernel_calls_may_allocate) {
    static struct unit_churn churn = {.random = 1, .most_bytes = 300000};
    unit_watch_kernel();
    unit_kernel.on_call = allocate_in_hook;
    heap_slow_path_hook = heap_opened_hook = allocate_in_hook;
    for (unsigned i = 0; i < 20000; i++) unit_churn_step(&churn);
    unit_churn_end(&churn);
    cr_assert_null(churn.fault, "%s", churn.fault);
    unit_kernel.on_call = heap_slow_path_hook = NULL;
    heap_flush(false);
    assert_sound();
    cr_assert_eq(counters.taken_bytes, 0);
}

static unsigned kernel_calls;
static void allocate_large_in_call(void) {
    static bool is_inside;
    if (is_inside || kernel_calls++ > 10000) return;
    is_inside = true;
    core_free(core_malloc(SLAB_MAX * 2));
    is_inside = false;
}

/* What a call that gives memory back causes to be retained must not be given back in the same pass without end. */
Test(heap, release_ends_though_kernel_calls_allocate) {
    unit_watch_kernel();
    for (unsigned i = 0; i < 15; i++) blocks[i] = core_malloc(SLAB_MAX * 2);
    release(15);
    unit_kernel.on_call = allocate_large_in_call;
    budget_release_to(0, RELEASE_LARGE_FIRST);
    cr_assert_lt(kernel_calls, 1000);
}

Test(heap, thread_goes_on_without_a_heap_when_there_is_no_memory_for_it) {
    unit_watch_kernel();
    unit_kernel.mmaps_left = 0;
    cr_assert_null(core_malloc(16));
    cr_assert_eq(heap_current, &heap_none);
    unit_kernel.mmaps_left = -1;
    cr_assert_not_null(core_malloc(16));
    cr_assert(heap_current != &heap_none && heap_current != &heap_gone);
}

/* ---- budget ---- */

Test(heap, magazines_stay_within_a_small_allowance) {
    relaxed_store(&limits.magazine.base_pages, 40);
    relaxed_store(&limits.magazine.share256, 0);
    for (unsigned round = 0; round < 3; round++)
        for (size_t bytes = 16; bytes <= 320; bytes += 16) {
            allocate(2000, bytes);
            for (unsigned i = 0; i < 2000; i++)
                if (i % 16) core_free(blocks[i]);
        }
    cr_assert_not(budget_has_magazine_room(0));
    cr_assert_leq(heap_current->capacity_pages, 40 + 20, "%ld pages", (long)heap_current->capacity_pages);
    assert_sound();
}

Test(heap, there_is_room_for_magazines_while_pages_are_few_or_dense) {
    relaxed_store(&limits.magazine.base_pages, 40);
    relaxed_store(&limits.magazine.share256, 0);
    relaxed_store(&limits.retained.base_pages, 0);
    relaxed_store(&limits.guarantee.base_pages, 0);
    relaxed_store(&limits.guarantee.share256, 64);
    counters.live_pages = 1000;
    counters.capacity_bytes = 100 * PAGE_BYTES;
    cr_assert_not(budget_has_magazine_room(0));
    counters.taken_bytes = 970 * PAGE_BYTES;
    cr_assert(budget_has_magazine_room(0), "dense pages");
    cr_assert_not(budget_has_magazine_room(100 * PAGE_BYTES));
    counters.taken_bytes = 0;
    counters.live_pages = 40;
    cr_assert(budget_has_magazine_room(INT32_MAX), "few pages");
}

Test(heap, open_heaps_share_alike) {
    cr_assert_eq(budget_heap_part(40), 40);
    counters.heaps_open = 4;
    cr_assert_eq(budget_heap_part(40), 10);
    cr_assert_eq(budget_heap_part(INT64_MAX), INT64_MAX);
}

/* ---- the end of threads ---- */

Test(heap, closed_heap_holds_nothing_and_malloc_goes_on) {
    allocate(100, 100);
    release(50);
    heap_close();
    cr_assert_eq(heap_current, &heap_gone);
    cr_assert_eq(counters.heaps_open, 0);
    cr_assert_eq(counters.taken_bytes, 50 * 112);
    assert_sound();
    void *p = core_malloc(100), *q = core_calloc(1, 5000);
    core_free(p);
    core_free(q);
    for (unsigned i = 50; i < 100; i++) core_free(blocks[i]);
    cr_assert_eq(counters.taken_bytes, 0, "without a heap every block goes to its pool");
    heap_close();
    cr_assert_eq(counters.heaps_open, 0);
    assert_sound();
}

static void open_and_use(unsigned index, void *context) {
    (void)context;
    core_free(core_malloc(16 * (index + 1)));
}

Test(heap, heap_of_an_ended_thread_serves_the_next) {
    for (unsigned i = 0; i < 20; i++) unit_run_threads(1, open_and_use, NULL);
    cr_assert_eq(heap_count, 1);
    for (unsigned i = 0; i < 20; i++) unit_run_threads(4, open_and_use, NULL);
    cr_assert_leq(heap_count, 4);
    cr_assert_eq(counters.heaps_open, 0);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

/* ---- threads ---- */

ParameterizedTestParameters(heap, blocks_are_freed_by_other_threads) {
    static size_t most[] = {16, 200, 4000, 40000, 400000};
    return cr_make_param_array(size_t, most, COUNT(most));
}
ParameterizedTest(size_t *most, heap, blocks_are_freed_by_other_threads) {
    static struct unit_exchange exchange;
    exchange.most_bytes = *most;
    exchange.steps = *most > 40000 ? 300 : *most > 4000 ? 1000 : 8000;
    unit_run_threads(4, unit_exchange_run, &exchange);
    assert_sound();
    unit_exchange_end(&exchange);
    heap_close();
    cr_assert_eq(exchange.faults, 0);
    cr_assert(counters.taken_bytes == 0 && counters.live_pages == 0 && counters.large_count == 0);
    assert_sound();
}

static void bulk_of_one_class(unsigned index, void *context) {
    void *mine[300];
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 300; i++) *(uintptr_t *)(mine[i] = core_malloc(64)) = index;
        for (unsigned i = 0; i < 300; i++) {
            if (*(uintptr_t *)mine[i] != index) atomic_fetch_add((_Atomic(int) *)context, 1);
            core_free(mine[i]);
        }
    }
}

Test(heap, many_threads_use_one_class) {
    _Atomic(int) faults = 0;
    unit_run_threads(16, bulk_of_one_class, &faults);
    cr_assert_eq(faults, 0);
    cr_assert(counters.taken_bytes == 0 && counters.heaps_open == 0);
    assert_sound();
}

/* ---- fork ---- */

static pthread_barrier_t rest;
static void *hold_magazines(void *context) {
    (void)context;
    for (size_t bytes = 16; bytes < 2000; bytes += 16) core_free(core_malloc(bytes));
    pthread_barrier_wait(&rest);
    pthread_barrier_wait(&rest);
    heap_close();
    return NULL;
}

static struct heap *other_heap(void) {
    for (uint32_t id = 0; id < heap_count; id++)
        if (heap_table[id] != heap_current) return heap_table[id];
    return NULL;
}

/* As if the fork had come while the other thread had a pool leased. */
static void interrupt_take(void) {
    struct heap *heap = other_heap();
    struct pool *pool = pool_of_address((uintptr_t)heap->magazine[4].top[-1], 0);
    atomic_store(&pool->state, POOL_LEASED);
    relaxed_store(&heap->leased, pool);
}

/* As if it had come while the other thread spilled: the blocks are in their pools and still in the magazine. */
static void interrupt_spill(void) {
    struct heap *heap = other_heap();
    pool_return(7, &heap->magazine[7].top[-1], 1);
    pool_return(9, heap->desk[9].base, 1);
}

static void (*interrupt)(void);
static void adopt(void *mine) {
    if (interrupt) interrupt();
    heap_after_fork();
    heap_adopt_orphans(UINT32_MAX);
    heap_flush(false);
    if (heap_verify()) report_line(heap_verify());
    if (counters.heaps_open != 1) report_line("other heaps are still open");
    if (counters.taken_bytes != 16) report_line("blocks are still held");
    core_free(mine);
}

static void expect_adoption(void) {
    pthread_t other;
    char said[200];
    void *mine = core_malloc(16);
    pthread_barrier_init(&rest, NULL, 2);
    cr_assert_eq(pthread_create(&other, NULL, hold_magazines, NULL), 0);
    pthread_barrier_wait(&rest);
    int status = unit_in_child(adopt, mine, said, sizeof said);
    pthread_barrier_wait(&rest);
    pthread_join(other, NULL);
    cr_assert_eq(status, 0);
    cr_assert_str_empty(said);
    core_free(mine);
    heap_close();
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

Test(heap, child_takes_over_what_other_threads_held) { expect_adoption(); }
Test(heap, child_ends_the_leases_of_other_threads) {
    interrupt = interrupt_take;
    expect_adoption();
}
Test(heap, child_takes_over_magazines_in_the_middle_of_a_change) {
    interrupt = interrupt_spill;
    expect_adoption();
}
