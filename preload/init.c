/* Start, threads' ends, fork and exit.
 *
 * Two phases. Before this constructor core works with its defaults and makes its system calls
 * directly; malloc may be called by the loader and by other libraries' constructors. The
 * constructor finds libc's own functions, reads the options from the environment it is handed, and
 * arranges to hear of thread ends and forks.
 *
 * A thread's end is heard through a pthread key whose destructor puts itself back for as many
 * rounds as there are, so that other destructors still find magazines, and closes the heap in the
 * last. What runs later (libc's own clean-up frees) goes to the pools directly.
 *
 * fork: core has no locks to acquire; the fork gate (core/gate.h) keeps other threads out of slow
 * paths meanwhile, and the child takes over what they held.
 */
#include "preload.h"

#include "../core/check.h"
#include "../core/core.h"
#include "../core/gate.h"
#include "../core/line.h"
#include "../trim-policy/options.h"
#include "../trim-policy/policy.h"
#include "sleep.h"
#include "stats_json.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static pthread_key_t thread_key;
static bool has_thread_key;

static void thread_ends(void *round) {
    uintptr_t n = (uintptr_t)round;
    if (n < PTHREAD_DESTRUCTOR_ITERATIONS && !pthread_setspecific(thread_key, (void *)(n + 1)))
        return;
    heap_close();
    policy_thread_ends();
}

static void heap_opened(void) {
    if (has_thread_key) pthread_setspecific(thread_key, (void *)1);
}

static void child_after_fork(void) {
    gate_reset();
    policy_after_fork();
    heap_after_fork();
}

/* What is not found stays a direct system call. */
static void find_next(void *function, const char *name) {
    void *next = dlsym(RTLD_NEXT, name);
    if (next) memcpy(function, &next, sizeof next);
}

static void find_os_calls(void) {
    struct os_calls found = os_calls;
    find_next(&found.mmap, "mmap");
    find_next(&found.munmap, "munmap");
    find_next(&found.madvise, "madvise");
    find_next(&found.mremap, "mremap");
    os_calls = found;
}

static __attribute__((constructor(101))) void start(int argc, char **argv, char **envp) {
    int saved = errno;
    line_is_mute = fcntl(STDERR_FILENO, F_GETFD) < 0;
    core_init();
    find_os_calls();
    batch_init();
    sleep_init();
    options_parse(envp);
    aside_from_sanitizer(argv, envp);
    policy_init();
    foreign_init();
    bool is_other = aside_from_other_malloc();
    python_init(argc, argv, !is_other);
    if (!is_other) deepbind_init();
    has_thread_key = pthread_key_create(&thread_key, thread_ends) == 0;
    heap_start(heap_opened);
    pthread_atfork(gate_close, gate_open, child_after_fork);
    const char *why_not = options.check > 1 ? check_start() : NULL;
    if (why_not) report_line(why_not);
    if (options.help) options_print_help();
    if (options.verbose) stats_json_say_start();
    if (!options.children) aside_leave_preload(envp);
    errno = saved;
}

static __attribute__((destructor(101))) void end(void) {
    if (options.stats) stats_json_write(options.stats);
    policy_end();
    if (options.check) heap_check_magazines();
    if (core_check_level > 1) check_end();
}
