/* Processes made in every way, while other threads churn and fork. What a child does it does with the memory it found.
 *
 *   processes WAY ROUNDS [FIRST]      FIRST: the first round's number, for a storm in pieces
 *
 *   many       several threads fork at the same time
 *   quick      the same, more of them, beside threads that churn little memory: most of the time goes into forks
 *   handler    a signal handler forks, in threads that block; half of the children return from it
 *   exit       a handler of atexit forks
 *   daemon     daemon()
 *   raw        the system calls fork and clone, of which libc and its handlers do not hear, while a thread forks by libc
 *   shared     vfork and clone with the parent's memory
 *   spawn      posix_spawn with file actions and attributes, popen, system
 */
#define _GNU_SOURCE
#include "storm.h"

#include <poll.h>
#include <sched.h>
#include <spawn.h>

extern char **environ;

enum { FORKERS = 3, QUICK_FORKERS = 8, BLOCKERS = 3, KEPT = 200 };

/* Each process frees its own copies. */
static void *kept[KEPT];
static void keep_some(uint64_t seed) {
    for (int i = 0; i < KEPT; i++) CHECK(kept[i] = malloc(random_size(&seed)));
}

/* Of short use where a thread may be interrupted in `churn`. */
static void use_all_tiers(uint64_t seed) {
    void *p[60];
    for (int i = 0; i < 60; i++) CHECK(p[i] = memset(malloc(20 + i), i, 20 + i));
    for (int i = 0; i < 60; i++) free(p[i]);
    for (int i = 0; i < 20; i++) {
        size_t bytes = random_size(&seed);
        CHECK(p[i] = calloc(1, bytes));
        for (size_t k = 0; k < bytes; k += 512) CHECK(!((char *)p[i])[k]);
    }
    for (int i = 0; i < 20; i++) free(p[i]);
}

static void be_child(long round) {
    pthread_t t;
    for (int i = (int)(round % 2); i < KEPT; i += 2) {
        free(kept[i]);
        kept[i] = NULL;
    }
    use_all_tiers((uint64_t)round + 1);
    if (round % 4 == 1) {
        start(&t, short_thread, (void *)round);
        pthread_join(t, NULL);
    }
    tally->exits++;
}

/* ---- many ---- */

static _Atomic(long) next_round, last_round;

static void *fork_in_turn(void *unused) {
    for (long round; (round = next_round++) < last_round;) {
        pid_t child = fork_counted();
        if (!child) {
            be_child(round);
            round % 2 ? exit(0) : _exit(0);
        }
        wait_for(child, round);
    }
    return unused;
}

static void fork_by(int threads, long first, long rounds) {
    pthread_t t[QUICK_FORKERS];
    next_round = first;
    last_round = first + rounds;
    for (int i = 0; i < threads; i++) start(&t[i], fork_in_turn, NULL);
    for (int i = 0; i < threads; i++) pthread_join(t[i], NULL);
}
static void storm_many(long first, long rounds) { fork_by(FORKERS, first, rounds); }
static void storm_quick(long first, long rounds) { fork_by(QUICK_FORKERS, first, rounds); }

/* ---- handler ---- */

static _Atomic(bool) is_handled;
static volatile bool blockers_end;
static int silent_pipe[2];

static void fork_in_handler(int signal) {
    int saved = errno;
    long round = watched_round;
    pid_t child = fork_counted();
    (void)signal;
    if (child) {
        wait_for(child, round);
        is_handled = true;
    } else {
        use_all_tiers((uint64_t)round + 1);
        if (round % 2) _exit(0);
        blockers_end = true; /* the child goes on where the handler interrupted */
    }
    errno = saved;
}

/* Blocks in each way in turn, with something to give back; ends only in children, and them. */
static void *block(void *number) {
    char byte;
    stack_t alternate = {.ss_size = 64 * KIB};
    CHECK(alternate.ss_sp = malloc(alternate.ss_size));
    if ((uintptr_t)number % 2) CHECK(!sigaltstack(&alternate, NULL));
    for (uintptr_t turn = (uintptr_t)number; !blockers_end; turn++) {
        struct pollfd fd = {silent_pipe[0], POLLIN, 0};
        use_all_tiers(turn + 1);
        if (turn % 4 == 0) poll(&fd, 1, 20);
        if (turn % 4 == 1) usleep(3000);
        if (turn % 4 == 2) waitpid(getpid(), NULL, 0);
        if (turn % 4 == 3 && !poll(NULL, 0, 150)) byte = (char)read(-1, &byte, 1);
    }
    use_all_tiers(7);
    tally->exits++;
    _exit(0);
}

static void storm_handler(long first, long rounds) {
    pthread_t t[BLOCKERS];
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_ONSTACK};
    CHECK(!pipe(silent_pipe) && !sigaction(SIGUSR1, &action, NULL));
    for (uintptr_t i = 0; i < BLOCKERS; i++) start(&t[i], block, (void *)i);
    for (watched_round = first; watched_round < first + rounds; watched_round++) {
        is_handled = false;
        tally->signals++;
        CHECK(!pthread_kill(t[watched_round % BLOCKERS], SIGUSR1));
        while (!is_handled) rest_ms(1);
        rest_ms(watched_round * 7 % 11);
    }
}

/* ---- exit, daemon ---- */

static void fork_at_exit(void) {
    pid_t child = fork_counted();
    use_all_tiers(5);
    if (!child) _exit(0);
    wait_for(child, 0);
}

static void storm_exit(long first, long rounds) {
    for (long round = first; round < first + rounds; round++) {
        pid_t child = fork_counted();
        if (!child) {
            atexit(fork_at_exit);
            be_child(round);
            exit(0);
        }
        wait_for(child, round);
    }
}

static void storm_daemon(long first, long rounds) {
    for (long round = first; round < first + rounds; round++) {
        int ends[2];
        char byte = 0;
        CHECK(!pipe(ends));
        pid_t child = fork_counted();
        if (!child) {
            close(ends[0]);
            CHECK(!daemon(1, 1));
            watchdog(CHILD_SECONDS);
            be_child(round);
            CHECK(write(ends[1], "d", 1) == 1);
            exit(0);
        }
        wait_for(child, round);
        close(ends[1]);
        CHECK(read(ends[0], &byte, 1) == 1 && byte == 'd');
        close(ends[0]);
        tally->forks++;
    }
}

/* ---- raw: a child may find the gate closed ---- */

static pid_t raw_fork(long round) {
#ifdef SYS_fork
    if (round % 2) return (pid_t)syscall(SYS_fork);
#endif
    return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void *fork_on(void *unused) {
    for (long round = 0; !stop; round++) {
        pid_t child = fork_counted();
        if (!child) _exit(0);
        wait_for(child, round);
    }
    return unused;
}

static void storm_raw(long first, long rounds) {
    pthread_t forker;
    start(&forker, fork_on, NULL);
    for (long round = first; round < first + rounds; round++) {
        pid_t child = raw_fork(round);
        CHECK(child >= 0);
        if (!child) {
            watchdog(CHILD_SECONDS);
            be_child(round - round % 4); /* no thread, and no fork of libc's, whose locks may be held for ever */
            for (int i = 0; i < 100; i++) free(malloc(300000));
            _exit(0);
        }
        tally->forks++;
        wait_for(child, round);
    }
    stop = true;
    pthread_join(forker, NULL);
}

/* ---- shared ---- */

static void *left_behind;

static int be_borrower(void *round) {
    free(left_behind);
    left_behind = malloc(100 + (uintptr_t)round % 5000);
    use_all_tiers((uintptr_t)round + 1);
    return 0;
}

static void storm_shared(long first, long rounds) {
    enum { STACK = 256 * 1024 };
    char *stack;
    CHECK(stack = malloc(STACK));
    for (long round = first; round < first + rounds; round++) {
        pid_t child;
        if (round % 2) {
            child = clone(be_borrower, stack + STACK, CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)round);
        } else {
            child = vfork();
            if (!child) {
                be_borrower((void *)round);
                _exit(0);
            }
        }
        CHECK(child > 0);
        tally->forks++;
        wait_for(child, round);
        memset(left_behind, 1, 100);
        use_all_tiers((uint64_t)round + 2);
    }
    free(stack);
}

/* ---- spawn ---- */

static void spawn(long round) {
    static char *const arguments[] = {"sh", "-c", "read line <&9 && [ \"$line\" = x ] && echo y", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all;
    pid_t child;
    int in[2];
    CHECK(!pipe2(in, O_CLOEXEC) && write(in[1], "x\n", 2) == 2);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in[0], 9);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    if (in[1] != 9) posix_spawn_file_actions_addclose(&files, in[1]);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigdefault(&attributes, &all);
    CHECK(!posix_spawn(&child, "/bin/sh", &files, &attributes, arguments, environ));
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    wait_for(child, round);
    close(in[0]);
    close(in[1]);
}

static void read_from_command(void) {
    char line[20];
    FILE *f;
    CHECK((f = popen("echo hello", "r")) && fgets(line, sizeof line, f) && !strcmp(line, "hello\n") && !pclose(f));
}

static void storm_spawn(long first, long rounds) {
    for (long round = first; round < first + rounds; round++) {
        if (round % 3 == 0) spawn(round);
        if (round % 3 == 1) read_from_command();
        if (round % 3 == 2) CHECK(!system("true"));
        tally->forks++;
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*storm)(long first, long rounds);
    } ways[] = {{"many", storm_many},     {"quick", storm_quick}, {"handler", storm_handler}, {"exit", storm_exit},
                {"daemon", storm_daemon}, {"raw", storm_raw},     {"shared", storm_shared},   {"spawn", storm_spawn}};
    for (unsigned i = 0; argc >= 3 && i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(ways[i].name, argv[1])) {
            long first = argc > 3 ? atol(argv[3]) : 0;
            watchdog(PROGRAM_SECONDS);
            if (!strcmp(argv[1], "quick")) most_churned = 256;
            keep_some((uint64_t)first + 1);
            start_churning();
            ways[i].storm(first, atol(argv[2]));
            if (strcmp(argv[1], "handler")) stop_churning(); /* there threads block for ever */
            return tally_end();
        }
    return 2;
}
