/* Policy: what the options do to core, and when memory goes back. */
#include "unit.h"

#include "../../trim-policy/earn.h"
#include "../../trim-policy/options.h"
#include "../../trim-policy/policy_state.h"

#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum { CANARY = 4711 };

static void start(char *entry) {
    char *environment[] = {entry, NULL};
    options_parse(environment);
    errno = CANARY;
    policy_init();
    cr_assert_eq(errno, CANARY);
}

/* ---- options ---- */

Test(policy, standard_options) {
    unsigned maps = 0;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    cr_assert(file && fscanf(file, "%u", &maps) == 1);
    fclose(file);
    start(NULL);
    cr_assert_eq(limits.max_holes, maps / 4);
    cr_assert(core_check_level == 1 && !os_keep_huge_pages && !os_return_lazily);
    cr_assert_not_null(heap_slow_path_hook);
}

Test(policy, check_level) {
    start("LOWTIDE_CHECK=0");
    cr_assert_eq(core_check_level, 0);
}
Test(policy, huge_pages_may_stay) {
    start("LOWTIDE_THP=keep");
    cr_assert(os_keep_huge_pages);
}
Test(policy, memory_may_be_released_but_never_unmapped) {
    start("LOWTIDE_RETURN=dontneed");
    cr_assert(limits.max_holes == 0 && !os_return_lazily);
}
Test(policy, memory_may_be_returned_lazily) {
    start("LOWTIDE_RETURN=free");
    cr_assert(limits.max_holes == 0 && os_return_lazily);
}

/* ---- the soft target ---- */

static char *held[10000];
static int64_t soft(void) { return allowance_pages(&limits.soft); }

/* Between the soft target and the cap. */
static void retain(void) {
    for (unsigned i = 0; i < COUNT(held); i++) held[i] = core_malloc(400);
    for (unsigned i = 0; i < COUNT(held); i++) core_free(held[i]);
    cr_assert_gt(budget_retained_pages(), soft() + 100);
}

Test(policy, slow_paths_release_down_to_the_soft_target_after_a_while) {
    start(NULL);
    retain();
    usleep(150000);
    heap_slow_path_hook();
    cr_assert_leq(budget_retained_pages(), soft());
    assert_sound();
}

Test(policy, idle_magazines_are_flushed_in_time) {
    start(NULL);
    core_free(core_malloc(64));
    unsigned class_id = class_of_request(64);
    for (unsigned i = 0; i < 3; i++) {
        usleep(120000);
        heap_slow_path_hook();
    }
    cr_assert_eq(heap_waiting_blocks(class_id), 0);
    cr_assert_eq(counters.taken_bytes, 0);
}

Test(policy, housekeeping_rests_between_two_passes) {
    start(NULL);
    core_free(core_malloc(16));
    usleep(120000);
    heap_slow_path_hook();
    int64_t at = heap_current->housekept_ms;
    retain();
    heap_slow_path_hook();
    cr_assert(heap_current->housekept_ms > at || budget_retained_pages() > soft(), "no time has passed");
}

/* ---- before sleeping ---- */

Test(policy, nothing_to_do_before_sleep_without_a_heap) {
    int wait_ms = -1;
    start(NULL);
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_NOTHING_TO_DO);
}

Test(policy, thread_that_sleeps_gives_back_first) {
    int wait_ms = -1;
    start(NULL);
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
    start(NULL);
    retain();
    policy_before_sleep(false, &wait_ms);
    retain();
    policy_state.tokens = -70000; /* deep in debt */
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_LATER);
    cr_assert(wait_ms > 0 && wait_ms <= 100, "%d ms", wait_ms);
    usleep(120000);
    cr_assert_eq(policy_before_sleep(false, &wait_ms), SLEEP_DONE);
    cr_assert_leq(budget_retained_pages(), soft());
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
    start(NULL);
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
    policy_snapshot(&m);
    int64_t total = (int64_t)info.totalram * info.mem_unit, min = total / 20 < 1536ll << 20 ? total / 20 : 1536ll << 20;
    cr_assert(m.limit_bytes > 0 && m.limit_bytes <= total);
    cr_assert(m.available_bytes > 0 && m.available_bytes <= m.limit_bytes);
    if (m.limit_bytes == total) cr_assert_eq(m.min_free_bytes, min);
    cr_assert(m.low_watermark_bytes > m.min_free_bytes && m.low_watermark_bytes <= m.limit_bytes);
}
