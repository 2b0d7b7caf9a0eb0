/* Policy: what the options do to core, and when memory goes back. */
#include "policy_test.h"

#include "../../core/gate.h"
#include "../../core/lend.h"
#include "../../trim-policy/earn.h"
#include "../../trim-policy/options.h"
#include "../../trim-policy/policy_state.h"

#include <stdlib.h>
#include <sys/sysinfo.h>

TestSuite(policy, .fini = machine_remove);

/* ---- options ---- */

Test(policy, standard_options) {
    policy_start(NULL);
    cr_assert_eq(limits.max_holes, 65530 / 4);
    cr_assert(core_check_level == 1 && !os_keep_huge_pages && !os_return_lazily);
    cr_assert_not_null(heap_slow_path_hook);
}

Test(policy, check_level) {
    policy_start("LOWTIDE_CHECK=0");
    cr_assert_eq(core_check_level, 0);
}
Test(policy, huge_pages_may_stay) {
    policy_start("LOWTIDE_THP=keep");
    cr_assert(os_keep_huge_pages);
}
Test(policy, memory_may_be_released_but_never_unmapped) {
    policy_start("LOWTIDE_RETURN=dontneed");
    cr_assert(limits.max_holes == 0 && !os_return_lazily);
}
Test(policy, memory_may_be_returned_lazily) {
    policy_start("LOWTIDE_RETURN=free");
    cr_assert(limits.max_holes == 0 && os_return_lazily);
}

/* ---- the soft target ---- */

static int64_t soft(void) { return allowance_pages(&limits.soft); }

/* Between the soft target and the cap; and a little waits in a magazine. */
static void retain(void) {
    retain_in(0, 700);
    core_free(core_malloc(64));
    cr_assert_gt(budget_retained_pages(), soft() + 100);
}

Test(policy, slow_paths_release_down_to_the_soft_target_after_a_while) {
    policy_start(NULL);
    retain();
    housekeep_after(100);
    cr_assert_leq(budget_retained_pages(), soft());
    assert_sound();
}

Test(policy, idle_magazines_are_flushed_in_time) {
    policy_start(NULL);
    core_free(core_malloc(64));
    unsigned class_id = class_of_request(64);
    housekeep_after(100);
    cr_assert_eq(heap_waiting_blocks(class_id), 4, "used until just now");
    housekeep_after(99);
    cr_assert_eq(heap_waiting_blocks(class_id), 4, "too soon to look again");
    housekeep_after(1);
    cr_assert_eq(heap_waiting_blocks(class_id), 0);
    cr_assert_eq(counters.taken_bytes, 0);
}

Test(policy, housekeeping_rests_between_two_passes) {
    policy_start(NULL);
    housekeep_after(100);
    retain();
    housekeep_after(0);
    housekeep_after(99);
    cr_assert_gt(budget_retained_pages(), soft(), "99 ms");
    housekeep_after(1);
    cr_assert_leq(budget_retained_pages(), soft());
}

static void keep_house_too(unsigned index, void *unused) {
    (void)index, (void)unused;
    core_free(core_malloc(64));
    heap_slow_path_hook();
}

/* Whoever comes first in an interval looks after the pages, and each thread after its own magazines. */
Test(policy, one_thread_keeps_house_for_all) {
    policy_start("LOWTIDE_PROFILE=tight"); /* nothing is earned */
    retain();
    driven_ms += 100;
    unit_run_threads(1, keep_house_too, NULL);
    cr_assert_leq(budget_retained_pages(), soft());
    retain();
    heap_current->housekept_ms = 0;
    housekeep_after(99);
    cr_assert_gt(budget_retained_pages(), soft(), "the other thread was here 99 ms ago");
    heap_current->housekept_ms = 0;
    housekeep_after(1);
    cr_assert_leq(budget_retained_pages(), soft());
}

Test(policy, thread_that_finds_another_at_policy_goes_on) {
    policy_start(NULL);
    retain();
    cr_assert(state_take());
    housekeep_after(100);
    cr_assert_gt(budget_retained_pages(), soft());
    state_leave();
    housekeep_after(100);
    cr_assert_leq(budget_retained_pages(), soft());
}

Test(policy, child_goes_on_where_a_thread_was_at_policy) {
    policy_start(NULL);
    retain();
    cr_assert(state_take());
    policy_after_fork();
    housekeep_after(100);
    cr_assert_leq(budget_retained_pages(), soft());
}

/* ---- before sleeping ---- */

static void sleep_without_a_heap(unsigned index, void *result) {
    int wait_ms = -1;
    (void)index;
    *(enum policy_sleep *)result = policy_before_sleep(true, &wait_ms);
}
Test(policy, nothing_to_do_before_sleep_without_a_heap) {
    enum policy_sleep result = SLEEP_DONE;
    policy_start(NULL);
    unit_run_threads(1, sleep_without_a_heap, &result);
    cr_assert_eq(result, SLEEP_NOTHING_TO_DO);
}

Test(policy, thread_that_sleeps_gives_back_first) {
    int wait_ms = -1;
    policy_start(NULL);
    retain();
    cr_assert(policy_has_sleep_work());
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_DONE);
    cr_assert_leq(budget_retained_pages(), soft());
    cr_assert_eq(counters.taken_bytes, 0, "magazines too");
    cr_assert_not(policy_has_sleep_work());
    assert_sound();
}

Test(policy, thread_that_slept_just_now_waits_the_rest_of_the_interval) {
    int wait_ms = -1;
    policy_start(NULL);
    retain();
    policy_before_sleep(false, &wait_ms);
    retain();
    policy_state.tokens = -70000; /* deep in debt */
    driven_ms += 30;
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_LATER);
    cr_assert_gt(budget_retained_pages(), soft());
    driven_ms += 69;
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_LATER);
    driven_ms += 1;
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_DONE);
    cr_assert_leq(budget_retained_pages(), soft());
}

/* About a page each: 4 a millisecond, 4096 at most. */
Test(policy, tokens_pay_for_more) {
    int wait_ms = -1;
    unsigned done = 0;
    policy_start(NULL);
    for (unsigned i = 0; i < 40; i++) {
        retain();
        done += policy_before_sleep(true, &wait_ms) == SLEEP_DONE;
    }
    cr_assert(done > 1 && done < 20, "%u times at one moment", done);
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_LATER, "they are spent");
    cr_assert_eq(wait_ms, 100);
    driven_ms += 2;
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_LATER, "8 are not enough");
    cr_assert_eq(wait_ms, 98);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    cr_assert_lt(policy_state.tokens, 0, "in debt, since the whole process fell asleep on much");
    policy_state.tokens = 100;
    driven_ms += 1; /* what was refused is refused until the clock moves */
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE, "but for a magazine they are");
}

/* The others' magazines too: whoever falls asleep last knows that nobody will come back to them soon. */
static _Atomic(bool) has_lent, may_end;
static void *lend_and_wait(void *unused) {
    core_free(core_malloc(3000));
    relaxed_store(&heap_current->is_asleep, true);
    heap_lend();
    has_lent = true;
    while (!may_end) gate_pause();
    heap_take_back();
    heap_close();
    return unused;
}
static bool lent_blocks_wait(void) { return heap_waiting_blocks(class_of_request(3000)) > 0; }

Test(policy, last_thread_that_sleeps_empties_what_is_lent) {
    pthread_t thread;
    int wait_ms;
    policy_start(NULL);
    retain();
    cr_assert_eq(pthread_create(&thread, NULL, lend_and_wait, NULL), 0);
    while (!has_lent) gate_pause();
    cr_assert(lent_blocks_wait());
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    bool is_left = lent_blocks_wait();
    may_end = true;
    pthread_join(thread, NULL);
    cr_assert_not(is_left);
    assert_sound();
}

/* What is earned is the whole process's: a thread that sleeps while another works gives up nothing of it. */
static void *stay_awake(void *unused) {
    core_free(core_malloc(3000));
    has_lent = true;
    while (!may_end) gate_pause();
    heap_close();
    return unused;
}

Test(policy, what_is_earned_stays_while_another_thread_is_awake) {
    pthread_t thread;
    int wait_ms;
    policy_start(NULL);
    retain();
    cr_assert_eq(pthread_create(&thread, NULL, stay_awake, NULL), 0);
    while (!has_lent) gate_pause();
    policy_state.earn[RING_LARGE].earned_pages = 400;
    enum policy_sleep answer = policy_before_sleep(true, &wait_ms);
    int64_t beside_another = policy_state.earn[RING_LARGE].earned_pages;
    may_end = true;
    pthread_join(thread, NULL);
    cr_assert_eq(answer, SLEEP_DONE);
    cr_assert_eq(beside_another, 400);
    driven_ms += 200;
    retain();
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    cr_assert_eq(policy_state.earn[RING_LARGE].earned_pages, 0, "alone again");
}

Test(policy, signals_are_let_through_again) {
    uint64_t before, after;
    int wait_ms;
    policy_start(NULL);
    retain();
    before = policy_change_mask(0, 0);
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    after = policy_change_mask(0, 0);
    cr_assert_eq(before, after);
}

static void churn_and_sleep(unsigned index, void *fault) {
    struct unit_churn *churn = core_calloc(1, sizeof *churn);
    churn->random = index + 1;
    churn->most_bytes = 30000;
    for (unsigned i = 0; i < 8000; i++) {
        int wait_ms;
        unit_churn_step(churn);
        if (i % 200 == 0) policy_before_sleep(true, &wait_ms);
        if (i % 50 == 0) heap_slow_path_hook();
    }
    unit_churn_end(churn);
    if (churn->fault) *(_Atomic(const char *) *)fault = churn->fault;
    core_free(churn);
}

Test(policy, threads_keep_house_at_the_same_time) {
    _Atomic(const char *) fault = NULL;
    policy_start(NULL);
    unit_run_threads(4, churn_and_sleep, &fault);
    cr_assert_null(fault);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

/* ---- earned retention ---- */

static struct earn_state earn;
static struct earn_reading reading;

static int64_t after(int64_t ms, int64_t released, int64_t fresh, int64_t reused) {
    reading.now_ms += ms;
    reading.released_pages += released;
    reading.fresh_pages += fresh;
    reading.reused_pages += reused;
    return earn_update(&earn, &reading);
}

Test(policy, what_comes_back_within_a_second_is_earned) {
    reading.now_ms = 100000;
    cr_assert_eq(after(0, 0, 500, 0), 0, "the first use is no return");
    cr_assert_eq(after(10, 400, 0, 0), 0);
    cr_assert_eq(after(10, 0, 300, 0), 300);
    cr_assert_eq(after(10, 0, 300, 0), 400, "no more than was released");
}

Test(policy, what_comes_back_late_is_not_earned) {
    reading.now_ms = 100000;
    after(0, 0, 500, 0);
    after(10, 400, 0, 0);
    cr_assert_eq(after(1600, 0, 400, 0), 0);
}

Test(policy, earned_retention_is_lost_without_use) {
    reading.now_ms = 100000;
    after(0, 0, 500, 0);
    after(10, 400, 0, 0);
    after(10, 0, 400, 0);
    reading.retained_pages = 400;
    reading.now_ms += 100;
    reading.reused_pages += 200;
    cr_assert_eq(earn_tick(&earn, &reading), 400, "half of it was used");
    reading.now_ms += 100;
    cr_assert_eq(earn_tick(&earn, &reading), 0);
}

Test(policy, losing_loses_all) {
    reading.now_ms = 100000;
    after(0, 0, 500, 0);
    after(10, 400, 0, 0);
    after(10, 0, 400, 0);
    earn_lose(&earn);
    cr_assert_eq(earn.earned_pages, 0);
    cr_assert_eq(after(10, 0, 0, 0), 0);
}

/* ---- the machine ---- */

Test(policy, sample_agrees_with_the_kernel) {
    struct policy_numbers m;
    struct sysinfo info;
    sysinfo(&info);
    policy_snapshot(&m); /* before policy_init: of the real machine */
    int64_t total = (int64_t)info.totalram * info.mem_unit, min = total / 20 < 1536ll << 20 ? total / 20 : 1536ll << 20;
    cr_assert(m.limit_bytes > 0 && m.limit_bytes <= total);
    cr_assert(m.available_bytes > 0 && m.available_bytes <= m.limit_bytes);
    if (m.limit_bytes == total) cr_assert_eq(m.min_free_bytes, min);
    cr_assert(m.low_watermark_bytes > m.min_free_bytes && m.low_watermark_bytes <= m.limit_bytes);
}
