/* Threads that come and go: the process does not grow with them.
 *
 *   threads churn THREADS [SEED]     of mixed lifetimes, joined or detached, each using every tier, some freeing what others left
 *                                    behind when those have ended; no growth in the second half
 *   threads small ROUNDS [SEED]      on the smallest of stacks and on 64 KiB, with signals, and blocking calls
 *   threads opening ROUNDS [SEED]    each opens and closes opened.so, which is beside the program, all the time
 *   threads stacks ROUNDS [SEED]     coroutines: blocks taken on one stack are freed on another; longjmp across all that
 */
#define _GNU_SOURCE
#include "storm.h"

#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <ucontext.h>

/* ---- churn ---- */

enum { AT_ONCE = 16, LEFT = 256, POINTS = 8, SETTLING = 64 };

/* Blocks that wait for any thread to free them; the first word is the size. */
static _Atomic(size_t *) left_behind[LEFT];

static void leave_blocks(uint64_t *seed, int blocks) {
    for (int i = 0; i < blocks; i++) {
        size_t bytes = random_size(seed) + sizeof(size_t), *p;
        CHECK(p = malloc(bytes));
        p[0] = bytes;
        ((char *)p)[bytes - 1] = (char)bytes;
        size_t *old = atomic_exchange(&left_behind[trap_random(seed) % LEFT], p);
        if (!old) continue;
        CHECK(old[0] <= sizeof(size_t) || ((char *)old)[old[0] - 1] == (char)old[0]);
        free(old);
    }
}

static void use_every_tier(uint64_t seed) {
    static const size_t sizes[] = {24, 400, 900, 3000, 7000, 30000, 90000, 200000};
    for (unsigned i = 0; i < 8; i++) {
        char *p;
        CHECK(p = malloc(sizes[i] + 1 + seed % 16));
        p[0] = p[sizes[i]] = (char)i;
        CHECK(p = realloc(p, sizes[i] * 2));
        CHECK(p[0] == (char)i && p[sizes[i]] == (char)i);
        free(p);
    }
}

static void *live(void *number) {
    uint64_t seed = (uintptr_t)number * 0x9e3779b97f4a7c15u + 1;
    use_every_tier(seed);
    leave_blocks(&seed, 1 + (int)(trap_random(&seed) % 20));
    if (seed % 8 == 0) poll(NULL, 0, 1 + (int)(seed >> 8 & 1)); /* the heap is lent meanwhile */
    if (seed % 16 == 1) churn(seed, 3000, &never);
    use_every_tier(seed);
    return NULL;
}

/* With no other thread but the library's own, nothing left behind and nothing retained. */
static long rest_pages(void) {
    long of_library = getenv("LOWTIDE_HOUSEKEEP") != NULL;
    while (trap_proc_bytes("/proc/self/status", "\nThreads:") / 1024 > 1 + of_library) rest_ms(1);
    for (int i = 0; i < LEFT; i++) free(atomic_exchange(&left_behind[i], NULL));
    malloc_trim(0);
    return trap_rss_bytes() / 4096;
}

static void storm_churn(long threads, uint64_t first) {
    pthread_t t[AT_ONCE];
    pthread_attr_t detached;
    long pages[POINTS + 1];
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (int point = 0; point <= POINTS; point++) {
        for (long n = 0; point && n < threads / POINTS; n += AT_ONCE) {
            for (int i = 0; i < AT_ONCE; i++) {
                watched_round = (long)first + tally->threads;
                if (i % 4) start(&t[i], live, (void *)watched_round);
                else CHECK(!pthread_create(&t[i], &detached, live, (void *)watched_round)), tally->threads++;
            }
            for (int i = 0; i < AT_ONCE; i++)
                if (i % 4) pthread_join(t[i], NULL);
        }
        pages[point] = rest_pages();
        printf("%s%ld", point ? " " : "pages: ", pages[point]);
    }
    long grown = pages[POINTS] - pages[POINTS / 2], most = SETTLING + threads / 2 * 4 / 10000;
    printf("; %ld in the second half\n", grown);
    fflush(stdout);
    CHECK(grown <= most);
}

/* ---- small ---- */

static _Atomic(long) handled;
static void allocate_in_handler(int signal) {
    (void)signal;
    int saved = errno;
    use_every_tier(3);
    handled++;
    errno = saved;
}

static void *live_small(void *number) {
    sigset_t one;
    uint64_t seed = (uintptr_t)number + 1;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    for (int i = 0; i < 20; i++) {
        use_every_tier(seed + (uint64_t)i);
        leave_blocks(&seed, 5);
        pthread_sigmask(SIG_UNBLOCK, &one, NULL); /* only here, where nothing is in malloc */
        pthread_kill(pthread_self(), SIGUSR1);
        poll(NULL, 0, i % 10 ? 0 : 1);
        pthread_sigmask(SIG_BLOCK, &one, NULL);
    }
    return NULL;
}

static void storm_small(long rounds, uint64_t first) {
    enum { N = 6 };
    struct sigaction action = {.sa_handler = allocate_in_handler};
    pthread_attr_t attributes;
    sigset_t one;
    CHECK(!sigaction(SIGUSR1, &action, NULL));
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    pthread_attr_init(&attributes);
    for (long round = 0; round < rounds; round++) {
        pthread_t t[N];
        watched_round = (long)first + round;
        CHECK(!pthread_attr_setstacksize(&attributes, round % 2 ? 64 * KIB : (size_t)PTHREAD_STACK_MIN));
        for (int i = 0; i < N; i++, tally->threads++) CHECK(!pthread_create(&t[i], &attributes, live_small, (void *)(watched_round * N + i)));
        for (int i = 0; i < N; i++) pthread_join(t[i], NULL);
        CHECK(handled == (round + 1) * N * 20);
    }
    tally->signals = handled;
}

/* ---- opening ---- */

static char library[1000];
static volatile long opening_rounds;

static void *open_and_close(void *seed) {
    churn((uintptr_t)seed + 1, 100, &never);
    for (long round = 0; round < opening_rounds; round++) {
        void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        void *(*use)(int) = opened ? (void *(*)(int))dlsym(opened, "opened_use") : NULL;
        CHECK(use);
        for (int i = 0; i < 5; i++) free(use((int)((uintptr_t)seed + (uintptr_t)(round * 5 + i)) & 0xffff));
        free(use(0));
        use_every_tier((uintptr_t)seed);
        CHECK(!dlclose(opened));
    }
    return NULL;
}

static void storm_opening(long rounds, uint64_t first) {
    pthread_t t[4];
    opening_rounds = rounds;
    start(&t[3], churn_thread, (void *)first);
    for (int turn = 0; turn < 3; turn++) { /* threads end with the library's storage, too */
        for (int i = 0; i < 3; i++) start(&t[i], open_and_close, (void *)(first + (uintptr_t)i));
        for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    }
    stop = true;
    pthread_join(t[3], NULL);
}

/* ---- stacks ---- */

enum { COROUTINES = 8, YIELDS = 6, HELD = 40 };

struct strand {
    ucontext_t here, *caller;
    char *stack;
    void *held[HELD];
    uint64_t seed;
    bool is_over;
};

static void yield(struct strand *s) { CHECK(!swapcontext(&s->here, s->caller)); }

/* Each time it is resumed it frees what whoever resumes it has left, and leaves its own. */
static void run_strand(unsigned low, unsigned high) {
    struct strand *s = (struct strand *)((uintptr_t)high << 32 | low);
    for (volatile int turn = 0; turn < YIELDS; turn++) {
        jmp_buf before;
        volatile int jumps = 0;
        for (int i = 0; i < HELD; i++) {
            free(s->held[i]);
            CHECK(s->held[i] = malloc(random_size(&s->seed)));
        }
        setjmp(before);
        free(malloc(random_size(&s->seed)));
        if (jumps++ < 3) longjmp(before, 1);
        yield(s);
    }
    s->is_over = true;
    yield(s);
}

static struct strand *new_strand(uint64_t seed) {
    enum { STACK = 64 * 1024 };
    struct strand *s;
    CHECK((s = calloc(1, sizeof *s)) && (s->stack = malloc(STACK)) && !getcontext(&s->here));
    s->seed = seed + 1;
    s->here.uc_stack = (stack_t){.ss_sp = s->stack, .ss_size = STACK};
    makecontext(&s->here, (void (*)(void))run_strand, 2, (unsigned)(uintptr_t)s, (unsigned)((uintptr_t)s >> 32));
    return s;
}

/* Resumed by this thread alone, but what they hold goes to other threads. */
static void *run_strands(void *seed) {
    struct strand *strands[COROUTINES];
    ucontext_t me;
    uint64_t random = (uintptr_t)seed + 1;
    for (int i = 0; i < COROUTINES; i++) strands[i] = new_strand((uintptr_t)seed + (uint64_t)i);
    for (int over = 0; over < COROUTINES;) {
        struct strand *s = strands[trap_random(&random) % COROUTINES];
        if (s->is_over) continue;
        s->caller = &me;
        CHECK(!swapcontext(&me, &s->here));
        over += s->is_over;
        for (int i = 0; i < HELD; i += 2) {
            free(s->held[i]);
            s->held[i] = NULL;
        }
        leave_blocks(&random, 3);
    }
    for (int i = 0; i < COROUTINES; i++) {
        for (int k = 0; k < HELD; k++) free(strands[i]->held[k]);
        free(strands[i]->stack);
        free(strands[i]);
    }
    return NULL;
}

static void storm_stacks(long rounds, uint64_t first) {
    for (long round = 0; round < rounds; round++) {
        pthread_t t[3];
        watched_round = (long)first + round;
        for (int i = 0; i < 3; i++) start(&t[i], run_strands, (void *)(watched_round * 3 + i));
        for (int i = 0; i < 3; i++) pthread_join(t[i], NULL);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long n = atol(argv[2]);
    uint64_t first = argc > 3 ? (uint64_t)atol(argv[3]) : 0;
    path_beside(argv[0], "opened.so", library, sizeof library);
    watchdog(PROGRAM_SECONDS);
    if (!strcmp(argv[1], "churn")) storm_churn(n, first);
    else if (!strcmp(argv[1], "small")) storm_small(n, first);
    else if (!strcmp(argv[1], "opening")) storm_opening(n, first);
    else if (!strcmp(argv[1], "stacks")) storm_stacks(n, first);
    else return 2;
    return tally_end();
}
