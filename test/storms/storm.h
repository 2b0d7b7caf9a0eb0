/* What programs that storm share: threads that churn, children that must end well and in time, a watchdog that makes a hang a
 * failure that says where, and a count of all that was made. Include it in one file a program. */
#ifndef LOWTIDE_TEST_STORM_H
#define LOWTIDE_TEST_STORM_H

#include "../traps/trap.h"

#include <dirent.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 4, SLOTS = 300, CHILD_SECONDS = 60, PROGRAM_SECONDS = 900 };

/* ---- what was made, children's part included ---- */

static struct {
    _Atomic(long) forks, threads, exits, signals;
} * tally;

__attribute__((constructor)) static void tally_begin(void) {
    void *at[1];
    backtrace(at, 1); /* loads what it needs */
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}
static int tally_end(void) {
    printf("forks=%ld threads=%ld exits=%ld signals=%ld\nok\n", tally->forks, tally->threads, tally->exits, tally->signals);
    return 0;
}

/* ---- the watchdog ---- */

static long watched_round; /* what the process is at, for the message */

static void rest_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &t, NULL); /* libc's is interposed, and gives back */
}

/* Calls of no library, for the case that what hangs is one: in children that were forked without libc's knowledge its locks may
 * be held for ever, dprintf's among them. */
static void say(const char *format, long a, long b) {
    char line[100];
    int n = snprintf(line, sizeof line, format, a, b);
    if (write(STDERR_FILENO, line, (size_t)n) != n) _exit(2);
}

static void ask_the_others(int signal) {
    char entries[4096];
    int fd = open("/proc/self/task", O_RDONLY | O_CLOEXEC);
    for (long n; (n = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;)
        for (struct dirent64 *e = (void *)entries; (char *)e < entries + n; e = (void *)((char *)e + e->d_reclen)) {
            int tid = atoi(e->d_name);
            if (tid && tid != gettid() && !syscall(SYS_tgkill, getpid(), tid, signal)) rest_ms(50);
        }
}

/* Each thread in its turn says where it is. */
static void say_where(int signal) {
    static _Atomic(bool) is_told;
    void *at[40];
    bool is_first = !atomic_exchange(&is_told, true);
    if (is_first) say("process %ld hangs in round %ld\n", getpid(), watched_round);
    say("thread %ld:\n", gettid(), 0);
    backtrace_symbols_fd(at, backtrace(at, 40), STDERR_FILENO);
    if (!is_first)
        for (;;) rest_ms(1000);
    ask_the_others(signal);
    _exit(1);
}

/* The process has so many seconds from now on. A child must ask anew. No call of libc's that may allocate. */
static void watchdog(int seconds) {
    struct sigaction action = {.sa_handler = say_where, .sa_flags = SA_ONSTACK};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMAX};
    struct itimerspec end = {.it_value = {.tv_sec = seconds}};
    int timer;
    CHECK(!sigaction(SIGRTMAX, &action, NULL) && !syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
    CHECK(!syscall(SYS_timer_settime, timer, 0, &end, NULL));
}

/* A file beside the program. */
__attribute__((unused)) static void path_beside(const char *program, const char *name, char *path, size_t room) {
    const char *slash = strrchr(program, '/');
    CHECK(slash && (size_t)snprintf(path, room, "%.*s/%s", (int)(slash - program), program, name) < room);
}

/* ---- threads ---- */

static void start(pthread_t *t, void *(*body)(void *), void *argument) {
    CHECK(!pthread_create(t, NULL, body, argument));
    tally->threads++;
}

static volatile bool stop;
__attribute__((unused)) static volatile bool never;

static size_t random_size(uint64_t *seed) {
    uint64_t r = trap_random(seed);
    if (r % 64 == 0) return 600 + r / 64 % 100000;
    if (r % 512 == 1) return 140000 + r / 512 % 400000;
    return 1 + r / 64 % 512;
}

/* What churns in a thread is no larger: where it is little, the kernel has few pages to copy after a fork. */
static size_t most_churned = SIZE_MAX;

static void churn(uint64_t seed, int steps, volatile bool *until) {
    char *slot[SLOTS] = {0};
    size_t bytes[SLOTS];
    for (int i = 0; i < steps && !*until; i++) {
        unsigned s = trap_random(&seed) % SLOTS;
        if (slot[s]) CHECK(slot[s][0] == (char)bytes[s] && slot[s][bytes[s] - 1] == (char)bytes[s]);
        errno = i;
        free(slot[s]);
        bytes[s] = random_size(&seed) % most_churned + 1;
        CHECK(slot[s] = malloc(bytes[s]));
        CHECK(errno == i);
        slot[s][0] = slot[s][bytes[s] - 1] = (char)bytes[s];
    }
    for (int s = 0; s < SLOTS; s++) free(slot[s]);
}

/* Bursts of one class: magazines fill, spill and refill all the time, which is where a fork may find another thread. */
static void burst(uint64_t seed, volatile bool *until) {
    enum { N = 400 };
    void *p[N];
    while (!*until) {
        size_t bytes = 16 + trap_random(&seed) % (most_churned < 4000 ? most_churned : 4000);
        errno = 0;
        for (int i = 0; i < N; i++) CHECK(p[i] = malloc(bytes));
        for (int i = 0; i < N; i++) free(p[i]);
        CHECK(errno == 0);
    }
}

static void *churn_thread(void *number) {
    uint64_t seed = 77 + (uintptr_t)number;
    while (!stop)
        if ((uintptr_t)number % 2) churn(seed++, 1 << 20, &stop);
        else burst(seed++, &stop);
    return NULL;
}

__attribute__((unused)) static void *short_thread(void *seed) {
    churn(1 + (uintptr_t)seed, 500, &never);
    return NULL;
}

/* Streams of its own and a shared one, whose locks libc takes around the fork. */
static void *stdio_thread(void *shared) {
    char *line = NULL;
    size_t room = 0;
    while (!stop) {
        FILE *f = fopen("/proc/self/status", "r");
        if (!f) continue;
        while (getline(&line, &room, f) > 0) fprintf(shared, "%.8s", line);
        fclose(f);
        rewind(shared);
    }
    free(line);
    return NULL;
}

static pthread_t thread[THREADS + 1];
static FILE *null_file;

__attribute__((unused)) static void start_churning(void) {
    CHECK(null_file = fopen("/dev/null", "w"));
    for (uintptr_t i = 0; i < THREADS; i++) start(&thread[i], churn_thread, (void *)i);
    start(&thread[THREADS], stdio_thread, null_file);
}
__attribute__((unused)) static void stop_churning(void) {
    stop = true;
    for (int i = 0; i <= THREADS; i++) pthread_join(thread[i], NULL);
}

/* ---- children ---- */

__attribute__((unused)) static pid_t fork_counted(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child)
        tally->forks++;
    else
        watchdog(CHILD_SECONDS);
    return child;
}

__attribute__((unused)) static void wait_for(pid_t child, long round) {
    int status, answer;
    do answer = waitpid(child, &status, 0);
    while (answer < 0 && errno == EINTR);
    CHECK(answer == child);
    if (status == 0) return;
    dprintf(STDERR_FILENO, "child of round %ld ended with status 0x%x (signal %d)\n", round, status, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    exit(1);
}

#endif
