/* fork and its kin while other threads allocate.
 *
 *   forks churn ROUNDS     children allocate, free, start threads and exit, while threads churn and use stdio streams
 *   forks atfork ROUNDS    the same, with handlers of pthread_atfork that allocate, registered before and after the churn began
 *   forks nested ROUNDS    the child forks again, its child too
 *   forks threads ROUNDS   the child starts a thread that allocates
 *   forks spawn ROUNDS     posix_spawn, vfork and system meanwhile
 *
 * A child that does not end well within ten seconds fails the run.
 */
#define _GNU_SOURCE
#include "trap.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

enum { THREADS = 4, SLOTS = 300, CHILD_SECONDS = 10 };

static volatile bool stop;
extern char **environ;

static size_t random_size(uint64_t *seed) {
    uint64_t r = trap_random(seed);
    if (r % 64 == 0) return 600 + r / 64 % 100000;
    if (r % 512 == 1) return 140000 + r / 512 % 400000;
    return 1 + r / 64 % 512;
}

static void churn(uint64_t seed, int steps, volatile bool *until) {
    static __thread char *slot[SLOTS];
    static __thread size_t bytes[SLOTS];
    for (int i = 0; i < steps && !*until; i++) {
        unsigned s = trap_random(&seed) % SLOTS;
        if (slot[s]) CHECK(slot[s][0] == (char)bytes[s] && slot[s][bytes[s] - 1] == (char)bytes[s]);
        free(slot[s]);
        bytes[s] = random_size(&seed);
        CHECK(slot[s] = malloc(bytes[s]));
        slot[s][0] = slot[s][bytes[s] - 1] = (char)bytes[s];
    }
    for (int s = 0; s < SLOTS; s++) {
        free(slot[s]);
        slot[s] = NULL;
    }
}

/* Bursts of one class: magazines fill, spill and refill all the time, which is where a fork may find another thread. */
static void burst(uint64_t seed, volatile bool *until) {
    enum { N = 400 };
    static __thread void *p[N];
    while (!*until) {
        size_t bytes = 16 + trap_random(&seed) % 4000;
        for (int i = 0; i < N; i++) CHECK(p[i] = malloc(bytes));
        for (int i = 0; i < N; i++) free(p[i]);
    }
}

static void *churn_thread(void *number) {
    uint64_t seed = 77 + (uintptr_t)number;
    while (!stop)
        if ((uintptr_t)number % 2) churn(seed++, 1 << 20, &stop);
        else burst(seed++, &stop);
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

static void start_churning(void) {
    CHECK(null_file = fopen("/dev/null", "w"));
    for (uintptr_t i = 0; i < THREADS; i++) CHECK(!pthread_create(&thread[i], NULL, churn_thread, (void *)i));
    CHECK(!pthread_create(&thread[THREADS], NULL, stdio_thread, null_file));
}
static void stop_churning(void) {
    stop = true;
    for (int i = 0; i <= THREADS; i++) pthread_join(thread[i], NULL);
}

static void *short_thread(void *unused) {
    volatile bool never = false;
    churn(5, 500, &never);
    return NULL;
}

static void in_child(int round) {
    volatile bool never = false;
    alarm(CHILD_SECONDS);
    churn((uint64_t)round + 1, 2000, &never);
    fprintf(null_file, "child %d\n", round);
    if (round % 4 == 0) {
        pthread_t t;
        CHECK(!pthread_create(&t, NULL, short_thread, NULL));
        pthread_join(t, NULL);
    }
    if (round % 2) exit(0); /* runs destructors */
    _exit(0);
}

static void wait_for(pid_t child, int round) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    if (status == 0) return;
    dprintf(STDERR_FILENO, "child of round %d ended with status 0x%x (signal %d)\n", round, status, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    exit(1);
}

static void fork_once(int round, int depth) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        if (depth > 1) fork_once(round, depth - 1);
        in_child(round);
    }
    wait_for(child, round);
}

static void spawn_once(int round) {
    static char *const arguments[] = {"true", NULL};
    pid_t child;
    if (round % 3 == 0) {
        CHECK(!posix_spawnp(&child, "true", NULL, NULL, arguments, environ));
        wait_for(child, round);
    } else if (round % 3 == 1) {
        child = vfork();
        if (!child) {
            execvp("true", arguments);
            _exit(9);
        }
        wait_for(child, round);
    } else
        CHECK(system("true") == 0);
}

/* ---- threads of the child ---- */

/* Each call is a slow path, which would wait a quarter of a second at a gate that is still closed. */
static void *allocate_large(void *unused) {
    for (int i = 0; i < 200; i++) free(malloc(300000));
    return unused;
}

static void fork_and_start_a_thread(int round) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        pthread_t other;
        alarm(20);
        CHECK(!pthread_create(&other, NULL, allocate_large, NULL));
        pthread_join(other, NULL);
        _exit(0);
    }
    wait_for(child, round);
}

/* ---- handlers of another library ---- */

static void *kept[3];
static void allocate_in_handler(int which) {
    free(kept[which]);
    CHECK(kept[which] = malloc(3000));
    free(malloc(40));
    free(malloc(300000));
}
static void handler_before(void) { allocate_in_handler(0); }
static void handler_parent(void) { allocate_in_handler(1); }
static void handler_child(void) { allocate_in_handler(2); }

/* Later than the preloaded library's own; test/traps/early.c registers earlier. */
static void register_handlers(void) { CHECK(!pthread_atfork(handler_before, handler_parent, handler_child)); }

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int rounds = atoi(argv[2]);
    bool is_spawn = !strcmp(argv[1], "spawn"), is_nested = !strcmp(argv[1], "nested"), is_atfork = !strcmp(argv[1], "atfork"),
         is_threads = !strcmp(argv[1], "threads");
    if (is_atfork) register_handlers();
    start_churning();
    if (is_atfork) register_handlers();
    for (int round = 0; round < rounds; round++)
        if (is_spawn) spawn_once(round);
        else if (is_threads) fork_and_start_a_thread(round);
        else fork_once(round, is_nested ? 3 : 1);
    stop_churning();
    puts("ok");
    return 0;
}
