/* A preloaded program to be watched from outside. It first does what makes a process publish, says "ready PID", and waits for a line.
 *
 *   job grow leak|mmap|retain|steady   for ever: holds more, maps more, frees ever larger amounts (LOWTIDE_RETURN=free keeps those),
 *                                      or does the same again and again
 *   job sleep nanosleep|read|poll      retains what the soft target allows, blocks in one call for 3,000 ms or until a byte comes, and
 *                                      says what came of it: "slept RESULT ERRNO MS"
 *   job under fsize|locked|filter|descriptors|chroot=DIR   publishes nothing, or keeps nothing open: "left open N" at the end
 *   job fork|fork-exit                 a child that works on; or that ends with _exit: "ready PID CHILD"
 *   job exec PROGRAM...                becomes that
 *   job ticks N                        keeps house N times, for callgrind and strace
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20, BLOCKS = 1 << 18, BLOCK_BYTES = 200 };
static void *blocks[BLOCKS];

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* So many MiB of small blocks, allocated and freed again: slow paths, where house is kept. */
static void churn(int mib) {
    int n = mib * (MIB / BLOCK_BYTES);
    for (int i = 0; i < n; i++) memset(blocks[i] = malloc(BLOCK_BYTES), 1, BLOCK_BYTES);
    for (int i = n; i--;) free(blocks[i]);
}
static void churn_ms(long ms) {
    for (long end = now_ms() + ms; now_ms() < end;) churn(4);
}

static void *held;
static void warm(void) {
    memset(held = malloc(4 * MIB), 1, 4 * MIB);
    churn_ms(350);
}

static void say_ready(pid_t child) {
    char line[16];
    printf("ready %d %d\n", (int)getpid(), (int)child);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) exit(0);
}

static void grow(const char *how) {
    static size_t kept[4]; /* so that it cannot be left out */
    for (int step = 1;; step++) {
        if (!strcmp(how, "leak"))
            for (int i = 0; i < 5000; i++) {
                size_t *p = malloc(400);
                memset(p, 1, 400);
                kept[i & 3] ^= (size_t)p;
            }
        else if (!strcmp(how, "mmap"))
            memset(mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1, 2 * MIB);
        churn(!strcmp(how, "retain") ? (step < 45 ? step : 45) : 1);
        usleep(60000);
    }
}

static void sleep_in(const char *call) {
    struct timespec t = {3, 0};
    struct pollfd in = {0, POLLIN, 0};
    char byte;
    churn(2);
    usleep(200000); /* down to the soft target */
    churn(1);
    errno = 0;
    long begun = now_ms(), result;
    if (!strcmp(call, "nanosleep"))
        result = nanosleep(&t, NULL);
    else if (!strcmp(call, "poll"))
        result = poll(&in, 1, 3000);
    else
        result = read(0, &byte, 1);
    printf("slept %ld %d %ld\n", result, errno, now_ms() - begun);
}

/* Those beyond the first three. */
static int open_descriptors(void) {
    int n = -4; /* and that of the directory itself, and the entries . and .. */
    DIR *d = opendir("/proc/self/fd");
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') n++;
    closedir(d);
    return n;
}

static void check(int failed, const char *what) {
    if (!failed) return;
    printf("cannot: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void live_under(const char *what) {
    struct rlimit none = {0, 0};
    int before = open_descriptors();
    if (!strcmp(what, "fsize")) check(setrlimit(RLIMIT_FSIZE, &none), what);
    if (!strcmp(what, "locked")) check(mlockall(MCL_CURRENT | MCL_FUTURE), what);
    if (!strcmp(what, "filter")) check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), what);
    if (!strncmp(what, "chroot=", 7)) check(chroot(what + 7) || chdir("/"), what);
    warm();
    int after = open_descriptors();
    say_ready(0);
    printf("left open %d\n", after < 0 ? 0 : after - before);
}

static void fork_one(int is_brief) {
    warm();
    pid_t child = fork();
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        churn_ms(400);
        if (is_brief) _exit(0);
        pause();
    }
    if (is_brief) waitpid(child, NULL, 0);
    say_ready(child);
    if (!is_brief) kill(child, SIGKILL);
}

/* Large buffers never pass by a slow path without keeping house, when it is time. */
static void ticks(int n) {
    memset(held = malloc(4 * MIB), 1, 4 * MIB);
    for (long end = now_ms() + n * 110L; now_ms() < end;) free(malloc(MIB / 2));
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "", *how = argc > 2 ? argv[2] : "";
    if (!strcmp(mode, "ticks")) {
        ticks(atoi(how));
        return 0;
    }
    if (!strcmp(mode, "under")) {
        live_under(how);
        return 0;
    }
    if (!strncmp(mode, "fork", 4)) {
        fork_one(!strcmp(mode, "fork-exit"));
        return 0;
    }
    warm();
    say_ready(0);
    if (!strcmp(mode, "grow")) grow(how);
    if (!strcmp(mode, "sleep")) sleep_in(how);
    if (!strcmp(mode, "exec")) execvp(argv[2], argv + 2);
    return 0;
}
