/* Processes that end in each way while their other threads allocate: they end as they should, in time and silently.
 *
 *   leaving ROUNDS [FIRST]      FIRST: the first round's number, for a storm in pieces
 *
 * Each has handlers of atexit, on_exit and at_quick_exit, destructors of thread-specific data in all rounds, of thread_local
 * objects, of the program and of a library that was opened: all free what is old, and allocate. opened.so beside it is that library.
 */
#define _GNU_SOURCE
#include "storm.h"

#include <dlfcn.h>
#include <limits.h>

enum { OLD = 60, SIBLINGS = 3, LONGEST_MS = 8 };

static void *old_block[OLD];
static uint64_t round_seed;

static void make_old(void) {
    for (int i = 0; i < OLD; i++) CHECK(old_block[i] = malloc(random_size(&round_seed)));
}

/* Siblings still run, and several handlers come by. */
static void renew_some(void) {
    uint64_t seed = 0x9e3779b97f4a7c15u + (uintptr_t)gettid();
    for (int i = 0; i < 20; i++) {
        void **slot = &old_block[trap_random(&seed) % OLD], *block;
        CHECK(block = malloc(random_size(&seed)));
        free(__atomic_exchange_n(slot, block, __ATOMIC_SEQ_CST));
    }
    free(calloc(1, 300000));
}
static void on_exit_too(int status, void *argument) {
    (void)status;
    renew_some();
    free(argument);
}
static void clean_up(void *block) {
    renew_some();
    free(block);
}
__attribute__((destructor)) static void end_program(void) { renew_some(); }

/* ---- siblings ---- */

static pthread_key_t key;
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
extern void *__dso_handle;

/* The value is a block that counts the rounds. */
static void destroy_value(void *value) {
    char *rounds = value;
    renew_some();
    if (++*rounds < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key, value);
    else free(value);
}

static void have_destructors(void) {
    CHECK(!pthread_setspecific(key, calloc(1, 700)));
    CHECK(!__cxa_thread_atexit_impl(clean_up, malloc(50), &__dso_handle));
}

static void *allocate_on(void *seed) {
    have_destructors();
    burst((uintptr_t)seed + 1, &never);
    return NULL;
}
static void *come_and_go(void *number) {
    have_destructors();
    churn((uintptr_t)number + 1, 100, &never);
    if ((uintptr_t)number < 1000) {
        pthread_t t;
        if (!pthread_create(&t, NULL, come_and_go, (void *)((uintptr_t)number + 1))) pthread_detach(t);
    }
    return NULL;
}
static void *wait_deferred(void *unused) {
    have_destructors();
    pthread_cleanup_push(clean_up, malloc(3000));
    for (;;) {
        renew_some();
        usleep(100);
    }
    pthread_cleanup_pop(0);
    return unused;
}
/* No call between the two that must not be cancelled so. */
static void *compute_asynchronous(void *unused) {
    have_destructors();
    pthread_cleanup_push(clean_up, malloc(3000));
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    for (volatile unsigned n = 0;; n++) continue;
    pthread_cleanup_pop(0);
    return unused;
}

static void end_cancelled(pthread_t t) {
    void *result;
    CHECK(!pthread_cancel(t) && !pthread_join(t, &result) && result == PTHREAD_CANCELED);
}

/* ---- ways ---- */

static pthread_t main_thread;
static void *exit_process(void *unused) {
    renew_some();
    exit(0);
    return unused;
}
static void *exit_after_main(void *unused) {
    pthread_join(main_thread, NULL);
    return exit_process(unused);
}

enum way { EXIT, EXIT_AT_ONCE, QUICK_EXIT, RETURN, EXIT_IN_THREAD, THREAD_EXIT_OF_MAIN, ABORT, KILL, WAYS };

static void set_up(uint64_t round, const char *library) {
    pthread_t t, deferred, asynchronous;
    round_seed = round + 1;
    make_old();
    CHECK(!pthread_key_create(&key, destroy_value));
    atexit(renew_some);
    on_exit(on_exit_too, malloc(40));
    at_quick_exit(renew_some);
    have_destructors();
    void *opened = dlopen(library, RTLD_NOW);
    CHECK(opened);
    for (uintptr_t i = 0; i < SIBLINGS; i++) start(&t, i ? allocate_on : come_and_go, (void *)(round + i));
    start(&deferred, wait_deferred, NULL);
    start(&asynchronous, compute_asynchronous, NULL);
    rest_ms((long)(round % LONGEST_MS));
    if (round % 2) end_cancelled(deferred);
    if (round % 3) end_cancelled(asynchronous);
    if (round % 4 == 0) CHECK(!dlclose(opened)); /* else it is closed by exit */
    main_thread = pthread_self();
}

/* Returns where main is to. */
static void leave(enum way way) {
    pthread_t t;
    tally->exits++;
    switch (way) {
    case EXIT: exit(0);
    case EXIT_AT_ONCE: _exit(0);
    case QUICK_EXIT: quick_exit(0);
    case ABORT: abort();
    case KILL: raise(SIGKILL); return;
    case EXIT_IN_THREAD: start(&t, exit_process, NULL); allocate_on(NULL); return;
    case THREAD_EXIT_OF_MAIN: start(&t, exit_after_main, NULL); pthread_exit(NULL);
    default: return;
    }
}

static int wanted_status(enum way way) { return way == ABORT ? SIGABRT : way == KILL ? SIGKILL : 0; }

int main(int argc, char **argv) {
    char library[1000];
    if (argc < 2) return 2;
    long rounds = atol(argv[1]), first = argc > 2 ? atol(argv[2]) : 0;
    path_beside(argv[0], "opened.so", library, sizeof library);
    watchdog(PROGRAM_SECONDS);
    for (long round = first; round < first + rounds; round++) {
        enum way way = (enum way)(round % WAYS);
        int status;
        pid_t child = fork_counted();
        if (!child) {
            watched_round = round;
            set_up((uint64_t)round / WAYS, library);
            leave(way);
            return 0;
        }
        CHECK(waitpid(child, &status, 0) == child);
        if (status == wanted_status(way)) continue;
        dprintf(STDERR_FILENO, "round %ld ended with status 0x%x\n", round, status);
        _exit(1);
    }
    return tally_end();
}
