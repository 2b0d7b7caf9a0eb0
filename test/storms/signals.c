/* Signals without end, by timers and from thread to thread, that interrupt threads anywhere.
 *
 *   signals SIGNALS [SEED]      until so many were handled
 *
 * No malloc may be called by a handler that interrupted one; there, handlers make blocking calls and fork. Elsewhere they
 * allocate, free what others left, fork children that allocate, and leave blocking calls by siglongjmp. Children are waited for
 * in the handler of SIGCHLD. Half of the threads have an alternate stack of the usual size.
 */
#define _GNU_SOURCE
#include "storm.h"

#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <sys/time.h>

enum { WORKERS = 4, LEFT = 64, FORKS_EVERY = 150 };

static __thread volatile bool is_allocating; /* in malloc's family, or in what calls it */
static __thread volatile bool may_jump;
static __thread sigjmp_buf before_wait;
static __thread uint64_t handler_seed;

static pthread_t worker[WORKERS];
static _Atomic(void *) left_behind[LEFT];
static _Atomic(long) forked, reaped, jumps, ended;
static sigset_t wanted; /* the workers' mask */
static pthread_barrier_t begun;
static sem_t never_posted;
static int silent_pipe[2];

#define ALLOCATING(statement) \
    do {                      \
        is_allocating = true; \
        statement;            \
        is_allocating = false; \
    } while (0)

/* ---- handlers; each with all signals blocked ---- */

static void allocate_some(uint64_t *seed) {
    for (int i = 0; i < 6; i++) {
        size_t bytes = random_size(seed);
        char *p;
        CHECK((p = malloc(bytes)) && (p = realloc(p, bytes / 2 + 1)));
        memset(p, i, bytes / 2 + 1);
        free(atomic_exchange(&left_behind[trap_random(seed) % LEFT], p));
    }
}

static void fork_some(uint64_t *seed) {
    forked++;
    pid_t child = fork_counted();
    if (child) return;
    if (!is_allocating) allocate_some(seed);
    _exit(0);
}

static void handle(int signal) {
    int saved = errno;
    (void)signal;
    if (!handler_seed) handler_seed = (uint64_t)gettid() * 0x9e3779b97f4a7c15u;
    tally->signals++;
    if (!is_allocating) allocate_some(&handler_seed);
    else poll(NULL, 0, 0);
    if (trap_random(&handler_seed) % FORKS_EVERY == 0 && forked - reaped < 8) fork_some(&handler_seed);
    errno = saved;
}

static void leave_wait(int signal) {
    (void)signal;
    tally->signals++;
    if (!may_jump) return;
    may_jump = false;
    jumps++;
    siglongjmp(before_wait, 1);
}

static void reap(int signal) {
    int saved = errno, status;
    (void)signal;
    for (pid_t child; (child = waitpid(-1, &status, WNOHANG)) > 0; reaped++)
        if (status) trap_fail(__FILE__, __LINE__, "a child ended badly");
    errno = saved;
}

/* ---- workers ---- */

static void wait_somehow(uint64_t turn) {
    struct timespec soon;
    char byte;
    if (sigsetjmp(before_wait, 1)) return;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_sec++;
    may_jump = true;
    if (turn % 4 == 0) poll(NULL, 0, 3);
    if (turn % 4 == 1) usleep(2000);
    if (turn % 4 == 2) sem_timedwait(&never_posted, &soon);
    if (turn % 4 == 3 && read(silent_pipe[0], &byte, 1) == 1) trap_fail(__FILE__, __LINE__, "read from nobody");
    may_jump = false;
}

/* Only waits are left by a jump. */
static void work_once(uint64_t seed) {
    void *p[100];
    for (int i = 0; i < 100; i++) ALLOCATING(CHECK(p[i] = malloc(random_size(&seed))));
    for (volatile int i = 0; i < 2000; i++) continue;
    for (int i = 0; i < 100; i++) ALLOCATING(free(p[i]));
}

static void use_alternate_stack(void) {
    size_t bytes = sysconf(_SC_SIGSTKSZ) > SIGSTKSZ ? (size_t)sysconf(_SC_SIGSTKSZ) : SIGSTKSZ, guard = 4096;
    char *at = mmap(NULL, guard + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t stack = {.ss_sp = at + guard, .ss_size = bytes};
    CHECK(at != MAP_FAILED && !mprotect(at, guard, PROT_NONE) && !sigaltstack(&stack, NULL));
}

static void *work(void *number) {
    uint64_t seed = (uintptr_t)number * 77 + 1;
    if ((uintptr_t)number % 2) use_alternate_stack();
    pthread_barrier_wait(&begun);
    pthread_sigmask(SIG_SETMASK, &wanted, NULL);
    while (!stop) {
        work_once(trap_random(&seed));
        wait_somehow(trap_random(&seed));
        int signal = seed % 3 ? SIGUSR2 : SIGUSR1;
        pthread_kill(worker[trap_random(&seed) % WORKERS], signal);
    }
    for (ended++; ended < WORKERS;) rest_ms(1); /* another may still want to interrupt this one */
    return NULL;
}

static void on_signal(int signal, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK | SA_RESTART};
    sigfillset(&action.sa_mask);
    sigdelset(&action.sa_mask, SIGRTMAX); /* the watchdog's */
    CHECK(!sigaction(signal, &action, NULL));
}

static timer_t start_timers(void) {
    struct itimerval often = {{0, 700}, {0, 700}};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    struct itimerspec oftener = {{0, 900000}, {0, 900000}};
    timer_t timer;
    CHECK(!setitimer(ITIMER_REAL, &often, NULL) && !timer_create(CLOCK_MONOTONIC, &event, &timer));
    CHECK(!timer_settime(timer, 0, &oftener, NULL));
    return timer;
}

static void stop_timers(timer_t timer) {
    struct itimerval none = {0};
    timer_delete(timer);
    setitimer(ITIMER_REAL, &none, NULL);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    long signals = atol(argv[1]);
    uintptr_t first = argc > 2 ? (uintptr_t)atol(argv[2]) : 0;
    sigset_t all;
    CHECK(!pipe(silent_pipe) && !sem_init(&never_posted, 0, 0) && !pthread_barrier_init(&begun, NULL, WORKERS + 1));
    watchdog(PROGRAM_SECONDS);
    on_signal(SIGALRM, handle);
    on_signal(SIGRTMIN, handle);
    on_signal(SIGUSR1, handle);
    on_signal(SIGUSR2, leave_wait);
    on_signal(SIGCHLD, reap);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &wanted);
    for (uintptr_t i = 0; i < WORKERS; i++) start(&worker[i], work, (void *)(first + i));
    pthread_barrier_wait(&begun);
    timer_t timer = start_timers();
    pthread_sigmask(SIG_SETMASK, &wanted, NULL);
    for (uint64_t seed = first + 1; tally->signals < signals;) work_once(trap_random(&seed));
    stop_timers(timer);
    for (stop = true; ended < WORKERS; rest_ms(1))
        for (int i = 0; i < WORKERS; i++) pthread_kill(worker[i], SIGUSR2); /* some wait for ever */
    for (int i = 0; i < WORKERS; i++) pthread_join(worker[i], NULL);
    while (reaped < forked) rest_ms(1);
    printf("%ld waits left by a jump\n", jumps);
    CHECK(jumps && forked);
    return tally_end();
}
