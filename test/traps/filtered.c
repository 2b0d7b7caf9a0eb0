/* Behind a seccomp filter that kills for all but the calls a heap cannot do without.
 *
 *   filtered churn          all tiers churn in four threads; then mallinfo2, and exit handlers
 *   filtered no-moves       the same, and the kernel refuses to move pages
 *   filtered forks          the same, and the main thread forks meanwhile
 *   filtered libcs          blocks of libc's own allocator are freed
 *   filtered misuse         a block is freed twice
 */
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <seccomp.h>
#include <sys/wait.h>

static const size_t sizes[] = {24, 100, 512, 600, 3000, 20000, 100000, 200000, 5ul << 20};
enum { SIZES = sizeof sizes / sizeof *sizes, THREADS = 3 };

static const char *const basic[] = {"mmap", "munmap", "madvise", "write", "futex", "exit", "exit_group", "rt_sigreturn", "rt_sigprocmask", NULL};
/* What libc's fork makes, and who waits for it. */
static const char *const forking[] = {"clone", "clone3", "set_robust_list", "wait4", NULL};

static void allow(scmp_filter_ctx filter, const char *const *calls) {
    for (; *calls; calls++) CHECK(!seccomp_rule_add(filter, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(*calls), 0));
}

static void forbid_the_rest(const char *how) {
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    CHECK(filter && !seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1));
    bool is_moving = strcmp(how, "no-moves");
    allow(filter, basic);
    if (!strcmp(how, "forks")) allow(filter, forking);
    CHECK(!seccomp_rule_add(filter, is_moving ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(ENOMEM), SCMP_SYS(mremap), 0));
    CHECK(!seccomp_load(filter)); /* and is not released: that is none of what is looked at here */
}

/* ---- churn ---- */

static pthread_barrier_t is_running, is_filtered; /* what a thread's start calls is over; the filter is on */

static void churn(uint64_t seed, int operations) {
    enum { N = 400 };
    static __thread void *p[N];
    for (int i = 0; i < operations; i++) {
        unsigned s = trap_random(&seed) % N;
        size_t bytes = sizes[trap_random(&seed) % (i % 200 ? 5 : SIZES)];
        p[s] = i % 3 ? (free(p[s]), calloc(1, bytes)) : realloc(p[s], bytes);
        CHECK(p[s] || bytes == 0);
        if (i % 20000 == 0) malloc_trim(0);
    }
    for (int i = 0; i < N; i++) free(p[i]), p[i] = NULL;
}

static void *churn_filtered(void *number) {
    pthread_barrier_wait(&is_running);
    pthread_barrier_wait(&is_filtered);
    churn(5 + (uintptr_t)number, 200000);
    return NULL;
}

static void fork_once(int round) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        churn(77 + (uint64_t)round, 2000);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void test_churn(const char *how) {
    pthread_t t[THREADS];
    pthread_barrier_init(&is_running, NULL, THREADS + 1);
    pthread_barrier_init(&is_filtered, NULL, THREADS + 1);
    for (uintptr_t i = 0; i < THREADS; i++) CHECK(!pthread_create(&t[i], NULL, churn_filtered, (void *)(i + 1)));
    pthread_barrier_wait(&is_running);
    forbid_the_rest(how);
    pthread_barrier_wait(&is_filtered);
    if (!strcmp(how, "forks"))
        for (int round = 0; round < 100; round++) fork_once(round);
    else
        churn(5, 200000);
    for (int i = 0; i < THREADS; i++) pthread_join(t[i], NULL);
    CHECK(mallinfo2().arena);
}

/* ---- what is not ours, or not any more ---- */

static void test_libcs(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *(*take)(size_t) = (void *(*)(size_t))dlsym(libc, "malloc");
    void *block[] = {take(100), take(100), take(1 << 20)};
    forbid_the_rest("libcs");
    for (int i = 0; i < 3; i++) {
        CHECK(malloc_usable_size(block[i]) >= 100);
        free(block[i]);
    }
}

static void test_misuse(void) {
    void *p = malloc(100), *other = malloc(100);
    forbid_the_rest("misuse");
    CHECK(p && other);
    free(p);
    free(p);
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    if (!strcmp(argv[1], "libcs")) test_libcs();
    else if (!strcmp(argv[1], "misuse")) test_misuse();
    else if (!strcmp(argv[1], "churn") || !strcmp(argv[1], "no-moves") || !strcmp(argv[1], "forks")) test_churn(argv[1]);
    else return 2;
    return write(STDOUT_FILENO, "ok\n", 3) != 3;
}
