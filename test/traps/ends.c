/* Threads and processes that end while memory is in use.
 *
 *   ends keys        destructors of thread-specific data allocate and free over several rounds
 *   ends atexit      handlers of atexit and destructors free what was allocated long before
 *   ends detached    detached threads go on past exit
 *   ends pthread-exit   main leaves by pthread_exit, another thread ends the process
 *   ends last        main and all others leave by pthread_exit: the last one ends the process, with its exit handlers
 *   ends cancel      threads are cancelled while they allocate
 *   ends many [N]    N threads created and joined: the process does not grow
 *   ends remote      blocks outlive the threads that allocated them
 */
#define _GNU_SOURCE
#include "trap.h"

#include <limits.h>
#include <pthread.h>
#include <unistd.h>

static void start(pthread_t *t, void *(*body)(void *), void *argument) { CHECK(!pthread_create(t, NULL, body, argument)); }

static void use_some(uint64_t seed) {
    void *p[50];
    for (int i = 0; i < 50; i++) CHECK(p[i] = malloc(1 + trap_random(&seed) % (i % 10 ? 600 : 150000)));
    for (int i = 0; i < 50; i++) free(p[i]);
}

/* ---- keys ---- */

enum { KEYS = 40 }; /* more than the 32 that libc keeps in place: the rest it allocates */
static pthread_key_t key[KEYS];
static volatile int destroyed;

/* The value counts the rounds; a destructor that sets its key again is called once more. */
static void destroy(void *value) {
    long *round = value, *next = NULL;
    use_some((uint64_t)*round + 1);
    if (*round < PTHREAD_DESTRUCTOR_ITERATIONS - 1) {
        CHECK(next = malloc(sizeof *next));
        *next = *round + 1;
        pthread_setspecific(key[*round % KEYS], next);
    }
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_RELAXED);
    free(round);
}

static void *with_keys(void *is_silent) {
    for (int i = 0; i < KEYS; i++) {
        long *round;
        if (is_silent) continue;
        CHECK(round = calloc(1, sizeof *round));
        pthread_setspecific(key[i], round);
    }
    return NULL;
}

static long static_round[4];
/* The thread's first allocation happens in a destructor of the last round. */
static void destroy_static(void *value) {
    long *round = value;
    if (++*round < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(key[0], round);
    else use_some(3);
}

static void test_keys(void) {
    for (int i = 0; i < KEYS; i++) CHECK(!pthread_key_create(&key[i], destroy));
    for (int n = 0; n < 200; n++) {
        pthread_t t;
        start(&t, with_keys, NULL);
        pthread_join(t, NULL);
    }
    CHECK(destroyed >= 200 * KEYS);
}

static void *first_in_destructor(void *unused) {
    pthread_setspecific(key[0], &static_round[0]);
    return NULL;
}

static void test_late(void) {
    CHECK(!pthread_key_create(&key[0], destroy_static));
    long after_warm_up = 0;
    for (int n = 0; n < 3000; n++) {
        pthread_t t;
        static_round[0] = 0;
        start(&t, first_in_destructor, NULL);
        pthread_join(t, NULL);
        if (n == 300) after_warm_up = trap_rss_bytes();
    }
    long grown = trap_rss_bytes() - after_warm_up;
    printf("grew %ld KiB in 2,700 threads\n", grown / 1024);
    CHECK(grown < (long)MIB);
}

/* ---- the end of the process ---- */

static void *old_block[100];
static void free_old(void) {
    for (int i = 0; i < 50; i++) {
        free(old_block[i]);
        old_block[i] = NULL;
    }
    use_some(7);
}
__attribute__((destructor)) static void free_rest(void) {
    for (int i = 0; i < 100; i++) free(old_block[i]);
    use_some(8);
}

static void *churn_for_ever(void *number) {
    for (uint64_t seed = 1 + (uintptr_t)number;; seed++) use_some(seed);
    return NULL;
}

static void test_detached(void) {
    for (uintptr_t i = 0; i < 4; i++) {
        pthread_t t;
        start(&t, churn_for_ever, (void *)i);
        pthread_detach(t);
    }
    usleep(20000);
}

static void *end_process(void *main_thread) {
    pthread_join(*(pthread_t *)main_thread, NULL);
    use_some(9);
    puts("ok");
    exit(0);
}

static void test_pthread_exit(void) {
    static pthread_t self;
    pthread_t t;
    self = pthread_self();
    void *p = malloc(100);
    old_block[0] = p;
    start(&t, end_process, &self);
    pthread_exit(NULL);
}

static void *outlive_main(void *unused) {
    use_some(7);
    usleep(300000);
    return unused;
}

static void say_ok(void) { puts("ok"); }

static void test_last(void) {
    pthread_t t;
    atexit(say_ok);
    for (int i = 0; i < 4; i++) { /* until housekeeping has begun */
        for (int n = 0; n < 20; n++) use_some((uint64_t)n);
        usleep(110000);
    }
    start(&t, outlive_main, NULL);
    pthread_detach(t);
    pthread_exit(NULL);
}

static void test_cancel(void) {
    for (int n = 0; n < 300; n++) {
        pthread_t t;
        void *result;
        start(&t, churn_for_ever, (void *)(uintptr_t)n);
        /* Deferred cancellation needs a cancellation point: malloc must not be one, so this thread is not to end by it. */
        if (n == 0) {
            pthread_cancel(t);
            usleep(50000);
            CHECK(pthread_tryjoin_np(t, &result) == EBUSY);
        }
        pthread_detach(t);
        if (n == 0) break;
    }
}

static void clean_up(void *p) { free(p); }
static void *wait_with_block(void *size) {
    void *p = malloc((size_t)size);
    pthread_cleanup_push(clean_up, p);
    for (;;) {
        free(malloc(64));
        usleep(10);
    }
    pthread_cleanup_pop(1);
    return NULL;
}

static void test_cancel_waiting(void) {
    for (int n = 0; n < 500; n++) {
        pthread_t t;
        void *result;
        start(&t, wait_with_block, (void *)(uintptr_t)(16 + n * 700));
        pthread_cancel(t);
        CHECK(!pthread_join(t, &result) && result == PTHREAD_CANCELED);
    }
}

/* ---- many threads ---- */

static void *one_of_many(void *number) {
    use_some(1 + (uintptr_t)number);
    return NULL;
}

static void test_many(int threads) {
    enum { AT_ONCE = 20 };
    pthread_t t[AT_ONCE];
    long first = 0;
    for (int n = 0; n < threads; n += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) start(&t[i], one_of_many, (void *)(uintptr_t)(n + i));
        for (int i = 0; i < AT_ONCE; i++) CHECK(!pthread_join(t[i], NULL));
        if (n >= threads / 5 && !first) first = trap_rss_bytes();
    }
    long grown = trap_rss_bytes() - first;
    printf("grew %ld KiB in %d threads\n", grown / 1024, threads * 4 / 5);
    CHECK(grown < (long)MIB);
}

enum { HANDED = 200 };
static void *make_blocks(void *number) {
    static const size_t size[] = {24, 500, 700, 5000, 40000, 150000};
    void **made = malloc(HANDED * sizeof *made);
    for (int i = 0; i < HANDED; i++) {
        size_t n = size[i % 6];
        CHECK(made[i] = malloc(n));
        trap_fill(made[i], n, (unsigned)i);
    }
    return made;
}

static void test_remote(void) {
    static const size_t size[] = {24, 500, 700, 5000, 40000, 150000};
    for (int n = 0; n < 100; n++) {
        pthread_t t;
        void **made;
        start(&t, make_blocks, NULL);
        pthread_join(t, (void **)&made);
        for (int i = 0; i < HANDED; i++) {
            CHECK(trap_is_filled(made[i], size[i % 6], (unsigned)i, size[i % 6]));
            free(made[i]);
        }
        free(made);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    atexit(free_old);
    for (int i = 0; i < 100; i++) old_block[i] = malloc(1 + (size_t)i * i * 20);
    if (!strcmp(argv[1], "keys")) test_keys();
    else if (!strcmp(argv[1], "late")) test_late();
    else if (!strcmp(argv[1], "atexit")) use_some(1);
    else if (!strcmp(argv[1], "detached")) test_detached();
    else if (!strcmp(argv[1], "pthread-exit")) test_pthread_exit();
    else if (!strcmp(argv[1], "last")) test_last();
    else if (!strcmp(argv[1], "cancel")) test_cancel(), test_cancel_waiting();
    else if (!strcmp(argv[1], "many")) test_many(argc > 2 ? atoi(argv[2]) : 10000);
    else if (!strcmp(argv[1], "remote")) test_remote();
    else return 2;
    puts("ok");
    return 0;
}
