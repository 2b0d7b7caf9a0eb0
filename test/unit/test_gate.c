/* The fork gate: who waits at it, for whom fork waits, and that whatever changes the heap's bookkeeping passes it. */
#include "policy_test.h"

#include "../../core/gate.h"
#include "../../core/lend.h"
#include "../../trim-policy/policy_state.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

TestSuite(gate, .init = core_init, .fini = machine_remove);

static int64_t now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- waiting ---- */

static void *block;
static _Atomic(bool) is_begun;

static void enter(void) { gate_leave(gate_enter()); }
static void enter_with_a_heap(void) {
    core_free(core_malloc(16));
    is_begun = true;
    enter();
}
static void enter_without_a_heap(void) {
    is_begun = true;
    enter();
}
static void enter_while_lending(void) {
    core_free(core_malloc(16));
    heap_lend();
    is_begun = true;
    enter();
}
static void free_without_a_heap(void) {
    heap_current = &heap_gone;
    is_begun = true;
    core_free(block);
}
static void flush_others(void) {
    is_begun = true;
    heap_flush_lent();
}

static const struct way {
    const char *name;
    void (*act)(void);
} waiting[] = {{"with a heap", enter_with_a_heap},
               {"without a heap", enter_without_a_heap},
               {"while lending", enter_while_lending},
               {"a free past the thread's end", free_without_a_heap},
               {"a thread that empties what others lend", flush_others}};

struct entry {
    const struct way *way;
    int64_t began_us, done_us;
    int error; /* in errno, behind it */
};
static void *run_entry(void *argument) {
    struct entry *entry = argument;
    entry->began_us = now_us();
    errno = 4711;
    entry->way->act();
    entry->error = errno;
    entry->done_us = now_us();
    heap_close();
    return NULL;
}

/* The workers' addresses differ, so a test gets a number. */
static unsigned numbers[] = {0, 1, 2, 3, 4};
_Static_assert(COUNT(numbers) == COUNT(waiting), "every way is tried");

ParameterizedTestParameters(gate, threads_wait_until_the_fork_is_over) { return cr_make_param_array(unsigned, numbers, COUNT(numbers)); }
/* Or for as long as anybody waits at all, where this machine stands still meanwhile. */
ParameterizedTest(unsigned *number, gate, threads_wait_until_the_fork_is_over) {
    pthread_t thread;
    struct entry entry = {.way = &waiting[*number]};
    core_free(core_malloc(16));
    block = core_malloc(64);
    heap_lend();
    heap_take_back(); /* so that there is a hint at a heap that was lent */
    gate_close();
    cr_assert_eq(pthread_create(&thread, NULL, run_entry, &entry), 0);
    while (!is_begun) usleep(100);
    usleep(20000);
    int64_t opened_us = now_us();
    gate_open();
    pthread_join(thread, NULL);
    cr_assert(entry.done_us >= opened_us || entry.done_us - entry.began_us >= GATE_WAIT_MS * 1000, "%s: went through a closed gate", entry.way->name);
    cr_assert_eq(entry.error, 4711, "%s: errno was %d", entry.way->name, entry.error);
}

/* The forking thread's own calls, as of other libraries' fork handlers. */
Test(gate, who_forks_does_not_wait) {
    gate_close();
    int64_t began_us = now_us();
    for (unsigned i = 0; i < 100; i++) core_free(core_malloc(16 + 16 * i));
    heap_flush(false);
    heap_flush_lent();
    cr_assert_lt(now_us() - began_us, GATE_WAIT_MS * 1000);
    gate_open();
    cr_assert_eq(gate_owner, 0);
}

static pthread_barrier_t turn;
static _Atomic(bool) has_left;
static void *stay_inside(void *has_heap) {
    if (has_heap) core_free(core_malloc(16));
    struct heap *outer = gate_enter(), *inner = gate_enter();
    pthread_barrier_wait(&turn);
    usleep(20000);
    gate_leave(inner);
    has_left = true;
    gate_leave(outer);
    return NULL;
}

ParameterizedTestParameters(gate, fork_waits_for_those_inside) {
    static bool has_heap[] = {false, true};
    return cr_make_param_array(bool, has_heap, COUNT(has_heap));
}
ParameterizedTest(bool *has_heap, gate, fork_waits_for_those_inside) {
    pthread_t thread;
    core_free(core_malloc(16));
    pthread_barrier_init(&turn, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, stay_inside, *has_heap ? &turn : NULL), 0);
    pthread_barrier_wait(&turn);
    int64_t began_us = now_us();
    gate_close();
    bool left = has_left;
    int64_t waited_us = now_us() - began_us;
    gate_open();
    pthread_join(thread, NULL);
    cr_assert(left || waited_us >= GATE_WAIT_MS * 1000);
}

/* ---- what passes it ---- */

/* A child that is made while pages go back gets the bookkeeping torn. */
static _Atomic(unsigned) inside, outside;
static void note_gate(void) {
    bool is_inside = relaxed_load(&heap_current->gate_depth) || relaxed_load(&gate_others);
    atomic_fetch_add(is_inside ? &inside : &outside, 1);
}

static void by_slow_path(void) {
    static void *p[3000];
    heap_current->housekept_ms = 0;
    for (unsigned i = 0; i < COUNT(p); i++) p[i] = core_malloc(32);
    for (unsigned i = 0; i < COUNT(p); i++) core_free(p[i]);
}
static void by_sleeping(void) {
    int wait_ms;
    core_free(core_malloc(3000));
    policy_before_sleep(true, &wait_ms);
}
static void by_the_keeper(void) { housekeep_process(driven_ms); }
static void by_mapping(void) { policy_before_mapping((size_t)950 << 20); }
static void by_trim(void) { core_trim(0); }

static const struct way ways[] = {
    {"slow path", by_slow_path}, {"malloc_trim", by_trim}, {"before a mapping", by_mapping}, {"before sleeping", by_sleeping}, {"keeper", by_the_keeper}};

_Static_assert(COUNT(numbers) == COUNT(ways), "every way is tried");

ParameterizedTestParameters(gate, memory_goes_back_inside) { return cr_make_param_array(unsigned, numbers, COUNT(numbers)); }
ParameterizedTest(unsigned *number, gate, memory_goes_back_inside, .fini = machine_remove) {
    const struct way *way = &ways[*number];
    policy_start(NULL);
    unit_watch_kernel();
    retain_in(0, 700);
    driven_ms += 5000;
    unit_kernel.on_call = note_gate;
    way->act();
    unit_kernel.on_call = NULL;
    cr_assert_gt(inside + outside, 0, "%s: nothing went back", way->name);
    cr_assert_eq(outside, 0, "%s: %u calls outside", way->name, outside);
}

/* ---- in a forked child ---- */

/* The forking thread passes its own gate in any case; other threads of the child must, too. */
static void pass_at_once(unsigned index, void *context) {
    int64_t began_us = now_us();
    (void)index;
    for (int i = 0; i < 10; i++) enter();
    *(int64_t *)context = now_us() - began_us;
}

Test(gate, reset_opens_it_for_every_thread) {
    int64_t took_us = 0;
    gate_close();
    atomic_fetch_add(&gate_others, 1); /* a thread that is not in the child was inside */
    gate_reset();
    cr_assert(gate_owner == 0 && gate_others == 0);
    unit_run_threads(1, pass_at_once, &took_us);
    cr_assert_lt(took_us, GATE_WAIT_MS * 1000 * 5);
}

/* ---- a fork that does not end ---- */

static void *close_and_go(void *unused) {
    gate_close();
    return unused;
}
static void close_by_another(void) {
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, close_and_go, NULL), 0);
    pthread_join(thread, NULL);
    cr_assert_neq(gate_owner, 0);
}

/* As in a child of a direct system call, made while another thread forked. */
Test(gate, one_wait_in_vain_opens_it) {
    close_by_another();
    int64_t took_us = 0;
    pass_at_once(0, &took_us);
    cr_assert_lt(took_us, GATE_WAIT_MS * 1000 * 5);
    cr_assert_eq(gate_owner, 0);
}

Test(gate, the_next_fork_takes_it_over) {
    close_by_another();
    gate_close();
    cr_assert_eq(gate_owner, (uintptr_t)pthread_self());
    gate_open();
    cr_assert_eq(gate_owner, 0);
}
