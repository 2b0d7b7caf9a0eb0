/* A signal handler may call read, poll, select, wait and the like wherever the program was, also in
 * the middle of malloc: then the interposed call must not touch what that malloc is working on. And
 * it may leave any of these calls by siglongjmp, or allocate, also while memory is given back.
 *
 *   handlers malloc|free|refill|spill waitpid|poll|read|long [beside]
 *                       in the middle of the allocator's call a handler makes the blocking one
 *   handlers jump waitpid|poll|read|long [beside]
 *                       in the middle of the blocking call a handler leaves it
 *   handlers allocate waitpid|poll|read|long [beside]
 *                       in the middle of the blocking call a handler allocates
 *   handlers fork waitpid|poll|read|long [beside]
 *                       in the middle of the blocking call a handler forks; the child allocates, returns from it and goes on
 *
 * "long" is a poll of 150 ms. "beside": there is another thread, which allocates all the time.
 *
 * The processor's trap flag stops the interrupted call after each instruction; in each round, a
 * process of its own, the handler acts after another one of them. Then all blocks must be whole,
 * each in one hand only, and memory must still be given back. A short call is interrupted
 * everywhere, a long one at as many places as there is time for. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __x86_64__

enum {
    BYTES = 48,
    BLOCKS = 300,
    STIRRED = 20,
    HANDLERS = BLOCKS - 20,
    SECONDS = 2,
    MOST_AT_ONCE = 10
};

enum { TRAP_FLAG = 0x100 };

static volatile long steps, interrupted_after;
static void (*volatile blocking_call)(void);
static bool jumps, allocates, forks;
static sigjmp_buf before_call;

/* What the uninterrupted round finds out for the others. */
static struct {
    long length;  /* of the call in instructions */
    int spilling; /* which free is interrupted */
} * shared;

static void wait_for_child(void) { waitpid(-1, NULL, WNOHANG); }
static void wait_by_poll(void) { poll(NULL, 0, 1); }
static void wait_long(void) { poll(NULL, 0, 150); }
static void wait_by_read(void) {
    char byte;
    if (read(-1, &byte, 1) != -1) abort();
}

static void on_abort(int signal) {
    (void)signal;
    dprintf(STDERR_FILENO, "interrupted after %ld instructions\n", interrupted_after);
    _exit(1);
}

static void fail(const char *what) {
    dprintf(STDERR_FILENO, "%s\n", what);
    on_abort(0);
}

static inline void trap(bool on) {
    unsigned long flags = __builtin_ia32_readeflags_u64();
    __builtin_ia32_writeeflags_u64(on ? flags | TRAP_FLAG : flags & ~(unsigned long)TRAP_FLAG);
}

/* ---- blocks ---- */

static unsigned char *block[BLOCKS];

/* The last quarter is of the next class, whose magazine lies behind the first's. */
static size_t bytes_of(int i) { return i < BLOCKS * 3 / 4 ? BYTES : BYTES + 16; }

static void take(int i) {
    block[i] = malloc(bytes_of(i));
    if (!block[i]) fail("no memory");
    if (malloc_usable_size(block[i]) != bytes_of(i)) fail("a block of another class");
    memset(block[i], i & 0xff, bytes_of(i));
}
static void check_and_free(int i) {
    for (size_t k = 0; k < bytes_of(i); k++)
        if (block[i][k] != (i & 0xff)) fail("a block was overwritten: it is in two hands");
    free(block[i]);
    block[i] = NULL;
}

/* The signals that the interrupted call has blocked. */
static uint64_t blocked;

/* A trap that is blocked kills, so this system call is not made but taken note of. */
static void note_signal_mask(greg_t *registers) {
    enum { SYSCALL_BYTES = 2 };
    if (memcmp((void *)registers[REG_RIP], "\x0f\x05", SYSCALL_BYTES)) return;
    if (registers[REG_RAX] != SYS_rt_sigprocmask) return;
    const uint64_t *mask = (const uint64_t *)registers[REG_RSI];
    uint64_t *before = (uint64_t *)registers[REG_RDX], old = blocked;
    if (mask && registers[REG_RDI] == SIG_BLOCK) blocked |= *mask;
    if (mask && registers[REG_RDI] == SIG_UNBLOCK) blocked &= ~*mask;
    if (mask && registers[REG_RDI] == SIG_SETMASK) blocked = *mask;
    if (before) *before = old;
    registers[REG_RAX] = 0;
    registers[REG_RIP] += SYSCALL_BYTES;
}

static bool end_round(pid_t child);

/* True in the parent, which waits for the child to end well. */
static bool fork_in_handler(void) {
    pid_t child = fork();
    if (child < 0) abort();
    if (child && !end_round(child)) fail("the child forked by a handler");
    return child;
}

/* The handler acts after so many instructions, or where its signal is no longer blocked then. */
static void on_step(int signal, siginfo_t *info, void *context) {
    int saved = errno;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    steps++;
    note_signal_mask(registers);
    if (interrupted_after && steps >= interrupted_after && !(blocked >> (signal - 1) & 1)) {
        registers[REG_EFL] &= ~TRAP_FLAG; /* no need for more */
        if (jumps) siglongjmp(before_call, 1);
        if (forks && fork_in_handler()) return;
        if (allocates || forks)
            for (int i = HANDLERS; i < BLOCKS; i++) take(i);
        else
            blocking_call();
    }
    errno = saved;
}

/* Leaves some blocks in magazines and pools, and the heap with something to give back: not much,
 * since each instruction of giving back that is stopped at takes some microseconds. */
static void *stir(void) {
    void *freed_last = NULL;
    for (int i = BLOCKS / 2; i < BLOCKS / 2 + STIRRED; i++) take(i);
    for (int i = BLOCKS / 2; i < BLOCKS / 2 + STIRRED; i++) {
        freed_last = block[i];
        check_and_free(i);
    }
    return freed_last;
}

static void rest_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &t, NULL); /* libc's would give back */
}

/* ---- the calls that are interrupted; each returns with block[0] taken ---- */

static void interrupt_malloc(void) {
    trap(true);
    unsigned char *p = malloc(BYTES);
    trap(false);
    block[0] = p;
}
static void interrupt_free(void) {
    take(1);
    take(0);
    unsigned char *p = block[1];
    trap(true);
    free(p);
    trap(false);
}
/* The magazine is empty: takes until malloc takes longer than it does with a block at hand. */
static void interrupt_refill(void) {
    int empty = (int)mallinfo2().ordblks;
    for (int i = 1; i <= empty && i < BLOCKS; i++) take(i);
    interrupt_malloc();
    for (int i = 1; i <= empty && i < BLOCKS; i++) check_and_free(i);
}
/* The magazine is full at one of these frees: the one that takes longest when not interrupted. */
static void interrupt_spill(void) {
    for (int i = 1; i < BLOCKS; i++) take(i);
    take(0);
    long longest = 0, before = 0;
    for (int i = 1; i < BLOCKS; i++) {
        unsigned char *p = block[i];
        bool is_trapped = !interrupted_after || shared->spilling == i;
        if (is_trapped) trap(true);
        free(p);
        if (is_trapped) trap(false);
        if (!interrupted_after && steps - before > longest) {
            longest = steps - before;
            shared->spilling = i;
        }
        before = steps;
    }
    if (!interrupted_after) steps = longest;
}

static void interrupt_by_jump(void) {
    jumps = true;
    if (!sigsetjmp(before_call, 1)) {
        trap(true);
        blocking_call();
        trap(false);
    }
    take(0);
}
static void call_trapped(void) {
    trap(true);
    blocking_call();
    trap(false);
    for (int i = HANDLERS; i < BLOCKS; i++)
        if (block[i]) check_and_free(i);
    take(0);
}
static void interrupt_by_allocating(void) {
    allocates = true;
    call_trapped();
}

static pthread_barrier_t turn;
static void *hold_some(void *unused) {
    for (int i = BLOCKS / 2; i < BLOCKS; i++) take(i);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    return unused;
}
/* After it a thread of the child's takes over the heap of one of the parent's, which must not be this thread's. */
static void interrupt_by_forking(void) {
    pthread_t other;
    forks = true;
    call_trapped();
    malloc_trim(0);
    pthread_barrier_init(&turn, NULL, 2);
    if (pthread_create(&other, NULL, hold_some, NULL)) abort();
    pthread_barrier_wait(&turn);
    for (int i = 1; i < BLOCKS / 2; i++) take(i);
    pthread_barrier_wait(&turn);
    pthread_join(other, NULL);
    for (int i = 1; i < BLOCKS; i++) check_and_free(i);
}

static void round_of(void (*interrupt)(void)) {
    stir();
    steps = 0;
    interrupt();
    memset(block[0], 0, BYTES);
    for (int i = 1; i < BLOCKS; i++) take(i);
    for (int i = 0; i < BLOCKS; i++) check_and_free(i);
}

/* Then the cache is empty, and the next block another one than was freed last. */
static bool gives_back(void) {
    void *freed_last = stir();
    blocking_call();
    void *next = malloc(BYTES);
    bool gives = next != freed_last;
    free(next);
    return gives;
}

/* ---- rounds ---- */

static bool has_neighbour;

/* A call leaves it to the neighbour where that one keeps house at this moment; not each time. */
static void expect_to_give_back(void) {
    for (int tries = has_neighbour ? 10 : 1; tries; tries--) {
        if (gives_back()) return;
        rest_ms(110);
    }
    fail("nothing is given back any more");
}

/* Keeps house, which empties what sleepers have lent. */
static void *be_neighbour(void *unused) {
    void *own[200];
    for (;;) {
        for (int i = 0; i < 200; i++) own[i] = malloc(16 + (size_t)i);
        for (int i = 0; i < 200; i++) free(own[i]);
        rest_ms(1);
    }
    return unused;
}

static pid_t start_round(void (*interrupt)(void), long after) {
    pthread_t neighbour;
    pid_t child = fork();
    if (child < 0) abort();
    if (child) return child;
    if (has_neighbour && pthread_create(&neighbour, NULL, be_neighbour, NULL)) abort();
    interrupted_after = after;
    round_of(interrupt);
    if (!after) shared->length = steps;
    if (blocking_call == wait_by_read) rest_ms(110); /* a read must not hurry */
    expect_to_give_back();
    _exit(0);
}
static bool end_round(pid_t child) {
    int status;
    while (syscall(SYS_wait4, child, &status, 0, NULL) != child) continue;
    return !status;
}

/* Spread evenly however far it gets; every other place is among the first thousand, where a call
 * decides what to do. 0 = all places have been tried. */
static long place(long round) {
    if (shared->length < 200) return round < shared->length + 10 ? round + 1 : 0;
    uint64_t length = (uint64_t)shared->length;
    if (round % 2 && length > 1000) length = 1000;
    uint64_t fraction = (uint64_t)(round + 1) * 0x9e3779b97f4a7c15ull >> 32;
    return 1 + (long)(fraction * length >> 32);
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*call)(void);
    } calls[] = {{"malloc", interrupt_malloc}, {"free", interrupt_free},
                 {"refill", interrupt_refill}, {"spill", interrupt_spill},
                 {"jump", interrupt_by_jump},  {"allocate", interrupt_by_allocating},
                 {"fork", interrupt_by_forking},
                 {"waitpid", wait_for_child},  {"poll", wait_by_poll},
                 {"long", wait_long},          {"read", wait_by_read}};
    void (*interrupt)(void) = NULL;
    has_neighbour = argc == 4;
    for (unsigned i = 0; argc >= 3 && i < sizeof calls / sizeof *calls; i++) {
        if (!strcmp(calls[i].name, argv[1])) interrupt = calls[i].call;
        if (!strcmp(calls[i].name, argv[2])) blocking_call = calls[i].call;
    }
    if (!interrupt || !blocking_call) return 2;
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO},
                     end = {.sa_handler = on_abort};
    sigaction(SIGTRAP, &step, NULL);
    sigaction(SIGABRT, &end, NULL);
    sigaction(SIGSEGV, &end, NULL);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    rest_ms(120); /* the library has read a file when it started, which counts */
    if (!end_round(start_round(interrupt, 0))) fail("it does not do uninterrupted");
    int at_once = blocking_call == wait_by_read || blocking_call == wait_long
                      ? MOST_AT_ONCE
                      : 3; /* the former mostly rest */
    long rounds = 0;
    double until = seconds_now() + SECONDS;
    for (bool is_over = false; !is_over;) {
        pid_t child[MOST_AT_ONCE];
        int n = 0;
        bool is_well = true;
        for (; n < at_once && place(rounds); n++)
            child[n] = start_round(interrupt, place(rounds++));
        for (int i = 0; i < n; i++) is_well &= end_round(child[i]);
        if (!is_well) return 1;
        is_over = n < at_once || seconds_now() > until;
    }
    printf("%ld instructions, interrupted at %ld of them\nok\n", shared->length, rounds);
    return 0;
}

#else
int main(void) {
    puts("not tried: needs x86-64's trap flag\nok");
    return 0;
}
#endif
