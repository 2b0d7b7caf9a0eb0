/* A trim that a reader asks for: answered at the next housekeeping, or by the keeper. */
#include "live_test.h"

#include "../../trim-policy/policy_state.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

TestSuite(live_trim, .fini = machine_remove);

Test(live_trim, a_trim_that_is_asked_for) {
    live_begin_holding(NULL);
    housekeep_after(100);
    struct live_page *page = live_map_page(getpid());
    retain_in(0, 200);
    housekeep_after(100);
    int64_t retained = budget_retained_pages();
    cr_assert_geq(retained, 200, "within the soft target");
    uint32_t round = limits.flush_round;
    page->trim_asked = 7;
    cr_assert(live_is_trim_asked());
    housekeep_after(99);
    cr_assert_eq(page->trim_served, 0, "at the next housekeeping");
    housekeep_after(1);
    cr_assert_eq(page->trim_served, 7);
    cr_assert_eq(page->trim_bytes, retained * PAGE_BYTES);
    cr_assert_eq(budget_retained_pages(), 0);
    cr_assert_eq(live_snapshot().heap.retained_bytes, 0);
    cr_assert_neq(limits.flush_round, round, "other threads empty their magazines");
    cr_assert(!live_is_trim_asked());
    retain_in(0, 200);
    housekeep_after(100);
    cr_assert_geq(budget_retained_pages(), 200, "once");
}

static int64_t real_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
static void ask_keeper(struct live_page *page, uint32_t number) {
    page->trim_asked = number;
    atomic_store(&page->bell, 1);
    syscall(SYS_futex, &page->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
    for (int64_t end = real_ms() + 10000; page->trim_served != number && real_ms() < end;) usleep(1000);
    cr_assert_eq(page->trim_served, number);
    cr_assert_eq(budget_retained_pages(), 0);
}
Test(live_trim, the_keeper_serves_it_while_all_sleep) {
    live_begin("LOWTIDE_HOUSEKEEP=thread");
    policy_clock_ms = real_ms;
    policy_state.machine.looked_ms = policy_state.ticked_ms = 0;
    heap_current->housekept_ms = INT64_MAX / 2; /* no keeper yet */
    live_hold();
    live_after_fork();
    live_update(real_ms() + 1000); /* old enough */
    struct live_page *page = live_map_page(getpid());
    cr_assert_not_null(page);
    cr_assert_eq(page->has_keeper, 0);
    heap_current->housekept_ms = 0;
    heap_slow_path_hook();
    for (int64_t end = real_ms() + 10000; !page->has_keeper && real_ms() < end;) usleep(1000);
    cr_assert_eq(page->has_keeper, 1);
    for (uint32_t number = 1; number <= 5; number++) {
        retain_in(0, 200);
        usleep(number * 70000); /* while it is busy, and when it sleeps for long */
        ask_keeper(page, number);
    }
}
