/* fork and its kin while other threads allocate.
 *
 *   forks churn ROUNDS [FIRST]   children allocate, free what they inherited, start threads, and end in each way or exec, while
 *                          threads churn and use stdio streams; FIRST: the first round's number, for a storm in pieces
 *   forks atfork ROUNDS    the same, with handlers of pthread_atfork that allocate, registered before and after the churn began
 *   forks nested ROUNDS    the child forks again, its child too
 *   forks threads ROUNDS   the child starts a thread that allocates, and does not wait for a fork that is over
 *   forks spawn ROUNDS     posix_spawn, vfork and system meanwhile
 *
 * A child that does not end well within CHILD_SECONDS fails the run.
 */
#define _GNU_SOURCE
#include "../storms/storm.h"

#include <limits.h>
#include <spawn.h>

extern char **environ;

/* What the parent allocated and its children free, each its own copy. */
static void *inherited[SLOTS];

static void renew_inherited(uint64_t seed) {
    for (int s = 0; s < SLOTS; s++) {
        free(inherited[s]);
        CHECK(inherited[s] = malloc(random_size(&seed)));
    }
}

/* Some children leave main in the end, which the caller does for them. */
static void in_child(int round) {
    static char *const arguments[] = {"true", NULL};
    for (int s = round % 3; s < SLOTS; s += 3) {
        free(inherited[s]);
        inherited[s] = NULL;
    }
    churn((uint64_t)round + 1, 2000, &never);
    fprintf(null_file, "child %d\n", round);
    if (round % 4 == 0) {
        pthread_t t;
        start(&t, short_thread, NULL);
        pthread_join(t, NULL);
    }
    tally->exits++;
    if (round % 64 == 63) execv("/bin/true", arguments);
    if (round % 3 == 0) exit(0); /* runs destructors */
    if (round % 3 == 1) _exit(0);
}

/* True in the child. */
static bool fork_once(int round, int depth) {
    if (round % 100 == 0) renew_inherited((uint64_t)round + 1);
    pid_t child = fork_counted();
    if (!child) {
        if (depth > 1 && fork_once(round, depth - 1)) return true;
        in_child(round);
        return true;
    }
    wait_for(child, round);
    return false;
}

static void spawn_once(int round) {
    tally->forks++;
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

/* The longest a slow path took in the luckiest child so far; shared with the children. A gate that is still closed holds up the first of
 * each child for GATE_MS (core/gate.h), and is open from then on. */
enum { GATE_MS = 250 };
static _Atomic(long) *luckiest_ms;

static void *allocate_large(void *unused) {
    long longest = 0;
    for (int i = 0; i < 20; i++) {
        long began = trap_now_ms();
        free(malloc(300000));
        long took = trap_now_ms() - began;
        if (took > longest) longest = took;
    }
    if (longest < *luckiest_ms) *luckiest_ms = longest;
    return unused;
}

static void fork_and_start_a_thread(int round) {
    pid_t child = fork_counted();
    if (!child) {
        pthread_t other;
        start(&other, allocate_large, NULL);
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
    int rounds = atoi(argv[2]), first = argc > 3 ? atoi(argv[3]) : 0;
    bool is_spawn = !strcmp(argv[1], "spawn"), is_nested = !strcmp(argv[1], "nested"), is_atfork = !strcmp(argv[1], "atfork"),
         is_threads = !strcmp(argv[1], "threads");
    watchdog(PROGRAM_SECONDS);
    luckiest_ms = mmap(NULL, sizeof *luckiest_ms, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *luckiest_ms = LONG_MAX;
    if (is_atfork) register_handlers();
    start_churning();
    if (is_atfork) register_handlers();
    for (int round = first; round < first + rounds; round++)
        if (is_spawn) spawn_once(round);
        else if (is_threads) fork_and_start_a_thread(round);
        else if (fork_once(round, is_nested ? 3 : 1)) return 0;
    stop_churning();
    CHECK(!is_threads || *luckiest_ms < GATE_MS);
    return tally_end();
}
