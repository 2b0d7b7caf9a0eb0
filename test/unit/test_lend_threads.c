/* Heaps that are lent by threads that end, fork, or come back while others are at work on them. What happens in one thread: test_lend.c. */
#include "lend_test.h"

#include "../../core/gate.h"

#include <pthread.h>
#include <unistd.h>

TestSuite(lend_threads, .init = core_init);

/* ---- taking back what another thread tends ---- */

static _Atomic(bool) has_lent, is_back;
static void *lend_and_come_back(void *unused) {
    fill_magazines();
    heap_lend();
    has_lent = true;
    while (heap_lent->lending != TENDED) gate_pause();
    heap_take_back();
    is_back = true;
    heap_close();
    return unused;
}

Test(lend_threads, owner_waits_for_whoever_tends_its_heap) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, lend_and_come_back, NULL), 0);
    while (!has_lent) gate_pause();
    uint32_t lent = heap_table[0]->lending;
    atomic_store(&heap_table[0]->lending, TENDED);
    usleep(20000);
    bool is_early = is_back;
    heap_flush_lent(); /* nor does a second thread tend it */
    size_t waiting = all_waiting_blocks();
    atomic_store(&heap_table[0]->lending, lent);
    pthread_join(thread, NULL);
    cr_assert_not(is_early);
    cr_assert_gt(waiting, 0);
    assert_empty();
}

/* ---- the end of threads ---- */

Test(lend_threads, heap_closed_while_lent) {
    fill_magazines();
    struct heap *heap = heap_current;
    heap_lend();
    heap_close();
    cr_assert(heap_current == &heap_gone && !heap_lent);
    cr_assert(heap->lending == OWNED && heap->closed);
    cr_assert_eq(counters.heaps_open, 0);
    others_flush();
    assert_empty();
}

static pthread_barrier_t turn;
static void close_heap(void *unused) {
    (void)unused;
    heap_close();
}
/* As preload does it, where the wrapped call does not return. */
static void *lend_and_wait(void *unused) {
    pthread_cleanup_push(close_heap, NULL);
    fill_magazines();
    heap_lend();
    pthread_barrier_wait(&turn);
    for (;;) { /* asleep, but not inside a function that TSan has wrapped: it takes such a thread for one that never came out */
        pthread_testcancel();
        gate_pause();
    }
    pthread_cleanup_pop(1);
    return unused;
}

Test(lend_threads, thread_cancelled_in_its_sleep) {
    for (unsigned i = 0; i < 4; i++) {
        pthread_t thread;
        pthread_barrier_init(&turn, NULL, 2);
        cr_assert_eq(pthread_create(&thread, NULL, lend_and_wait, NULL), 0);
        pthread_barrier_wait(&turn);
        if (i % 2) heap_flush_lent();
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        cr_assert_eq(counters.heaps_open, 0);
        cr_assert_eq(heap_count, 1, "the next thread gets the same");
        assert_empty();
    }
}

static void *lend_and_vanish(void *unused) {
    fill_magazines();
    heap_lend();
    return unused;
}
static void vanish(void) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, lend_and_vanish, NULL), 0);
    pthread_join(thread, NULL);
}
static void open_and_use(unsigned index, void *context) {
    (void)index, (void)context;
    fill_magazines();
}

static unsigned opened;
static void note_opened(void) { opened++; }

/* Threads whose last allocation came after their heap could be closed. */
Test(lend_threads, heap_of_a_thread_that_is_gone_is_found) {
    core_free(core_malloc(16));
    heap_start(note_opened);
    cr_assert_eq(opened, 1, "the heap that was there");
    for (unsigned i = 0; i < 4; i++) {
        vanish();
        if (i % 2) heap_flush_lent();
        cr_assert_eq(counters.heaps_open, 2);
        unit_run_threads(1, open_and_use, NULL);
        cr_assert_eq(heap_count, 2, "a new heap was made though one has no owner");
        cr_assert_eq(counters.heaps_open, 1);
        cr_assert_eq(heap_table[1]->lending, OWNED);
        others_flush();
        cr_assert_eq(counters.taken_bytes, (int64_t)(heap_waiting_blocks(1) * 16), "all but the own magazine");
    }
    assert_empty();
}

/* libc's mutexes are not to be called before that, so nobody can tell that its thread is there: it counts as alive. */
Test(lend_threads, heap_from_before_the_start_is_left_alone) {
    vanish();
    cr_assert_eq(opened, 0);
    cr_assert_not(heap_table[0]->has_life);
    heap_start(note_opened);
    cr_assert_eq(opened, 0, "no heap in this thread yet");
    core_free(core_malloc(16));
    cr_assert_eq(heap_count, 2);
    cr_assert(heap_table[1]->has_life);
    cr_assert_eq(opened, 1);
}

/* ---- fork ---- */

static struct heap *tended_at_fork;

static void expect_in_child(bool holds, const char *what) {
    if (!holds) report_line(what);
}

static void adopt_lent(void *unused) {
    (void)unused;
    if (tended_at_fork) atomic_store(&tended_at_fork->lending, TENDED);
    heap_after_fork();
    heap_take_back(); /* as the wrapper does after the call */
    heap_adopt_orphans(UINT32_MAX);
    expect_in_child(heap_current == heap_table[0], "the thread has another heap");
    heap_flush_lent();
    for (uint32_t id = 0; id < heap_count; id++) expect_in_child(heap_table[id]->lending == OWNED, "a heap is still lent");
    expect_in_child(!heap_lent, "the thread thinks that it lends");
    core_free(core_malloc(64));
    heap_flush(false);
    expect_in_child(counters.heaps_open == 1, "other heaps are still open");
    expect_in_child(counters.taken_bytes == 0, "blocks are still held");
    expect_in_child(!heap_verify(), "unsound");
}

static void expect_adoption(void) {
    char said[400];
    int status = unit_in_child(adopt_lent, NULL, said, sizeof said);
    cr_assert_str_empty(said);
    cr_assert_eq(status, 0);
}

static void *lend_while_others_fork(void *unused) {
    fill_magazines();
    heap_lend();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    heap_take_back();
    use_much();
    heap_close();
    return unused;
}

static void fork_beside_a_lender(bool is_tended) {
    pthread_t thread;
    core_free(core_malloc(16));
    pthread_barrier_init(&turn, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, lend_while_others_fork, NULL), 0);
    pthread_barrier_wait(&turn);
    if (is_tended) tended_at_fork = heap_table[1];
    expect_adoption();
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    assert_empty();
}

Test(lend_threads, child_takes_over_a_lent_heap) { fork_beside_a_lender(false); }
Test(lend_threads, child_takes_over_a_heap_that_another_was_at_work_on) { fork_beside_a_lender(true); }

/* From a signal handler, in the thread that lends. */
static void fork_as_the_lender(bool is_tended) {
    fill_magazines();
    if (is_tended) tended_at_fork = heap_current;
    heap_lend();
    expect_adoption();
    heap_take_back();
    assert_mine(heap_table[0]);
    assert_empty();
}
Test(lend_threads, child_of_the_lender_takes_it_back) { fork_as_the_lender(false); }
Test(lend_threads, child_of_the_lender_takes_it_back_from_nobody) { fork_as_the_lender(true); }

/* ---- many ---- */

enum { LENDERS = 4, FLUSHERS = 2, LOANS = 25000, LONG_LOANS = 1500 };
static _Atomic(unsigned) lenders_at_work = LENDERS;
static _Atomic(const char *) fault;
static struct unit_churn churns[LENDERS];

/* As of a signal handler: the thread may or may not allocate while it lends. */
static void lend_and_churn(struct unit_churn *churn) {
    struct heap *heap = heap_current;
    heap_lend();
    if (unit_random(&churn->random) % 4 == 0) unit_churn_step(churn);
    heap_take_back();
    if (heap_current != heap && heap != &heap_none) fault = "another heap came back";
}

static void lend_often(unsigned index, void *context) {
    (void)context;
    if (index >= LENDERS) {
        core_free(index % 2 ? core_malloc(100) : NULL); /* one flusher has a heap of its own */
        while (lenders_at_work) heap_flush_lent();
        return;
    }
    struct unit_churn *churn = &churns[index];
    *churn = (struct unit_churn){.random = index + 1, .most_bytes = 4000};
    for (unsigned i = 0; i < LOANS && !churn->fault; i++) {
        unit_churn_step(churn);
        lend_and_churn(churn);
    }
    unit_churn_end(churn);
    if (churn->fault) fault = churn->fault;
    atomic_fetch_sub(&lenders_at_work, 1);
}

Test(lend_threads, many_loans_beside_threads_that_flush) {
    unit_run_threads(LENDERS + FLUSHERS, lend_often, NULL);
    cr_assert_null(fault, "%s", fault);
    cr_assert_eq(counters.heaps_open, 0);
    assert_empty();
}

/* Magazines with much in them, lent for about as long as it takes to empty them, so that owners come back in the middle of that. */
static void lend_for_a_moment(unsigned index, void *context) {
    (void)context;
    uint64_t random = index + 1;
    if (index >= LENDERS) {
        while (lenders_at_work) heap_flush_lent();
        return;
    }
    for (unsigned i = 0; i < LONG_LOANS; i++) {
        void *held[MAGAZINE_BLOCKS];
        for (size_t bytes = 32; bytes <= 512; bytes += 32) {
            for (unsigned n = 0; n < COUNT(held); n++) memset(held[n] = core_malloc(bytes), (int)index, bytes);
            for (unsigned n = 0; n < COUNT(held); n++)
                if (*(unsigned char *)held[n] != index || ((unsigned char *)held[n])[bytes - 1] != index) fault = "a block was handed out twice";
            for (unsigned n = 0; n < COUNT(held); n++) core_free(held[n]);
        }
        heap_lend();
        for (uint64_t spin = unit_random(&random) % 10000; spin; spin--) __asm__ volatile("");
        heap_take_back();
    }
    atomic_fetch_sub(&lenders_at_work, 1);
}

Test(lend_threads, owners_come_back_while_they_are_tended) {
    unit_run_threads(LENDERS + FLUSHERS, lend_for_a_moment, NULL);
    cr_assert_null(fault, "%s", fault);
    assert_empty();
}

/* Blocks move between the threads that lend, so that pools are shared with whoever flushes. */
static void exchange_and_lend(unsigned index, void *argument) {
    struct unit_exchange *exchange = argument;
    struct unit_exchange part = {.most_bytes = exchange->most_bytes, .steps = 20};
    for (unsigned i = 0; i < 300; i++) {
        unit_exchange_run(index + i, &part);
        heap_lend();
        if (index % 2) heap_flush_lent();
        for (unsigned place = 0; place < EXCHANGE_PLACES; place += 7) {
            unsigned char *mine = atomic_exchange(&part.place[place], NULL);
            unsigned char *theirs = mine ? atomic_exchange(&exchange->place[place], mine) : NULL;
            if (theirs) part.place[place] = theirs;
        }
        heap_take_back();
    }
    unit_exchange_end(&part);
    atomic_fetch_add(&exchange->faults, part.faults);
}

Test(lend_threads, blocks_are_exchanged_between_threads_that_lend) {
    static struct unit_exchange exchange = {.most_bytes = 900};
    unit_run_threads(4, exchange_and_lend, &exchange);
    unit_exchange_end(&exchange);
    heap_close();
    cr_assert_eq(exchange.faults, 0);
    assert_empty();
}
