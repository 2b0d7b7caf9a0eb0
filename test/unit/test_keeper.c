/* The keeper, by the real clock: when it starts, what it is, and that it gives back what threads retain that do nothing. Waits here
 * are for something to happen, with an end far beyond what it should take. */
#include "policy_test.h"

#include "../../core/gate.h"
#include "../../core/lend.h"
#include "../../trim-policy/policy_state.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(keeper, .fini = machine_remove);

enum { MOST_WAIT_MS = 10000, MANY_TASKS = 64 };

static int64_t real_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void start(const char *option) {
    policy_start(option);
    policy_clock_ms = real_ms;
    policy_state.machine.looked_ms = 0;
    policy_state.ticked_ms = 0;
}

/* ---- threads of this process ---- */

struct tasks {
    unsigned n;
    int id[MANY_TASKS];
};

static struct tasks tasks(void) {
    struct tasks found = {.n = 0};
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.' && found.n < MANY_TASKS) found.id[found.n++] = atoi(e->d_name);
    closedir(d);
    return found;
}

/* The thread that is new since `before`; 0 = none. */
static int new_task(const struct tasks *before) {
    struct tasks now = tasks();
    for (unsigned i = 0; i < now.n; i++) {
        bool is_old = false;
        for (unsigned j = 0; j < before->n; j++) is_old |= now.id[i] == before->id[j];
        if (!is_old) return now.id[i];
    }
    return 0;
}

/* A number of /proc/self/task/TID/status. */
static uint64_t status_of(int task, const char *key, int base) {
    char name[64], line[200];
    uint64_t value = 0;
    snprintf(name, sizeof name, "/proc/self/task/%d/status", task);
    FILE *f = fopen(name, "r");
    cr_assert_not_null(f, "%s", name);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) value = strtoull(line + strlen(key), NULL, base);
    fclose(f);
    return value;
}

/* ---- */

/* Blocks of a page each, so that what is free are whole pages; the cap lets 3 MiB stay. */
static void retain(void) { retain_in(0, 700); }
static int64_t soft(void) { return allowance_pages(&limits.soft); }

static bool is_released(void) { return budget_retained_pages() <= soft(); }
/* Sleeps by a direct system call, as a thread does that waits on a futex of its own. */
static void sleep_ms(int64_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &t, NULL);
}
static bool wait_for(bool (*happened)(void)) {
    for (int64_t end = real_ms() + MOST_WAIT_MS; !happened() && real_ms() < end;) sleep_ms(10);
    return happened();
}

/* A slow path finds that 100 ms have passed. */
static void keep_house(void) {
    heap_current->housekept_ms = 0;
    heap_slow_path_hook();
}

Test(keeper, there_is_none_unless_asked_for) {
    start(NULL);
    struct tasks before = tasks();
    retain();
    keep_house();
    cr_assert_eq(new_task(&before), 0);
}

Test(keeper, it_starts_at_the_first_housekeeping) {
    struct tasks before = tasks();
    start("LOWTIDE_HOUSEKEEP=thread");
    cr_assert_eq(new_task(&before), 0, "not before");
    errno = 4711;
    keep_house();
    cr_assert_eq(errno, 4711);
    int task = new_task(&before);
    cr_assert_neq(task, 0);
    for (unsigned i = 0; i < 5; i++) keep_house();
    struct tasks now = tasks();
    cr_assert_eq(now.n, before.n + 1, "it is one");
}

static int keeper_task;
static bool has_worked(void) { return status_of(keeper_task, "voluntary_ctxt_switches:", 10) >= 3; }

/* Signals are for the program's threads. libc keeps two for itself; the kernel never blocks two more. */
Test(keeper, it_blocks_all_signals) {
    struct tasks before = tasks();
    sigset_t mask_before, mask_after;
    start("LOWTIDE_HOUSEKEEP=thread");
    sigemptyset(&mask_before);
    sigaddset(&mask_before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mask_before, NULL);
    keep_house();
    keeper_task = new_task(&before);
    cr_assert(wait_for(has_worked)); /* libc blocks signals itself while a thread starts */
    uint64_t blocked = status_of(keeper_task, "SigBlk:", 16);
    for (int number = 1; number <= 64; number++) {
        if (number == SIGKILL || number == SIGSTOP || (number >= 32 && number < SIGRTMIN)) continue;
        cr_assert(blocked >> (number - 1) & 1, "signal %d", number);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (int number = 1; number <= 64; number++) cr_assert_eq(sigismember(&mask_before, number), sigismember(&mask_after, number));
}

Test(keeper, it_gives_back_while_all_others_sleep) {
    start("LOWTIDE_HOUSEKEEP=thread");
    retain();
    keep_house();
    cr_assert(wait_for(is_released));
    retain();
    keep_house(); /* too soon for a tick of this thread, or not */
    retain();
    cr_assert(wait_for(is_released), "%ld pages", (long)budget_retained_pages());
    assert_sound();
}

/* Without the keeper that memory stays until somebody allocates. */
Test(keeper, inline_housekeeping_leaves_a_sleeper_its_memory) {
    start(NULL);
    keep_house();
    retain();
    int64_t before = budget_retained_pages();
    sleep_ms(300);
    cr_assert_eq(budget_retained_pages(), before);
    cr_assert_gt(before, soft());
}

static pthread_barrier_t turn;
static bool is_empty(void) { return counters.taken_bytes == 0 && is_released(); }
/* No call of libc's that is interposed lies in between. */
static void *retain_and_sleep(void *unused) {
    retain();
    for (size_t bytes = 16; bytes < 512; bytes += 16) core_free(core_malloc(bytes));
    keep_house();
    heap_lend();
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    heap_take_back();
    heap_close();
    return unused;
}

Test(keeper, it_empties_what_a_sleeping_thread_lent) {
    pthread_t thread;
    start("LOWTIDE_HOUSEKEEP=thread");
    pthread_barrier_init(&turn, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, retain_and_sleep, NULL), 0);
    pthread_barrier_wait(&turn);
    bool is_done = wait_for(is_empty);
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    cr_assert(is_done);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

/* On a futex until something becomes more idle, not every 100 ms. */
Test(keeper, it_sleeps_while_nothing_happens) {
    struct tasks before = tasks();
    start("LOWTIDE_HOUSEKEEP=thread");
    keep_house();
    int task = new_task(&before);
    uint64_t wakes = 0;
    bool is_asleep = false;
    for (int64_t end = real_ms() + MOST_WAIT_MS; !is_asleep && real_ms() < end;) {
        wakes = status_of(task, "voluntary_ctxt_switches:", 10);
        sleep_ms(400);
        is_asleep = status_of(task, "voluntary_ctxt_switches:", 10) == wakes;
    }
    cr_assert(is_asleep);
    retain();
    keep_house();
    retain();
    cr_assert(wait_for(is_released), "it wakes when there is something to do");
}

/* TSan gives up on threads in the child of a process that has some. */
#ifndef __SANITIZE_THREAD__
static void expect_in_child(bool holds, const char *what) {
    if (!holds) report_line(what);
}
static void keep_house_in_child(void *unused) {
    (void)unused;
    gate_reset();
    policy_after_fork();
    heap_after_fork();
    heap_adopt_orphans(UINT32_MAX);
    expect_in_child(tasks().n == 1, "it came along");
    retain();
    keep_house();
    expect_in_child(tasks().n == 2, "it did not start anew");
    retain();
    expect_in_child(wait_for(is_released), "it gives nothing back");
}

Test(keeper, a_forked_child_starts_its_own) {
    char said[300];
    start("LOWTIDE_HOUSEKEEP=thread");
    retain();
    keep_house();
    cr_assert(wait_for(is_released));
    cr_assert_eq(unit_in_child(keep_house_in_child, NULL, said, sizeof said), 0);
    cr_assert_str_empty(said);
}
#endif

/* ---- with threads that do not sleep ---- */

static void churn_beside_the_keeper(unsigned index, void *fault) {
    struct unit_churn *churn = core_calloc(1, sizeof *churn);
    churn->random = index + 1;
    churn->most_bytes = 30000;
    for (unsigned i = 0; i < 20000; i++) {
        int wait_ms;
        unit_churn_step(churn);
        if (i % 1000 == 0) policy_before_sleep(true, &wait_ms);
        if (i % 500 == 0) {
            heap_lend();
            sleep_ms(1);
            heap_take_back();
        }
        if (i % 100 == 0) keep_house();
    }
    unit_churn_end(churn);
    if (churn->fault) *(_Atomic(const char *) *)fault = churn->fault;
    core_free(churn);
}

/* A level that changes all the time, so that all it sets is set while others read it. */
static void change_the_machine(unsigned index, void *fault) {
    if (index) {
        churn_beside_the_keeper(index, fault);
        return;
    }
    for (unsigned i = 0; i < 30; i++) {
        machine_set_memory(1024, available_for_level[i % LEVELS]);
        sleep_ms(10);
    }
}

Test(keeper, threads_work_beside_it) {
    _Atomic(const char *) fault = NULL;
    start("LOWTIDE_HOUSEKEEP=thread");
    unit_run_threads(4, change_the_machine, &fault);
    cr_assert_null(fault, "%s", fault);
    heap_flush(false);
    cr_assert(wait_for(is_released));
    cr_assert_eq(counters.taken_bytes, 0);
}
