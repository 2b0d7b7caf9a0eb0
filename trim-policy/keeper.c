/* The keeper: a thread that keeps house also while all others compute or sleep. Only with
 * LOWTIDE_HOUSEKEEP=thread.
 *
 * It starts at the first housekeeping of the process, has all signals blocked and a small stack,
 * works every 100 ms while the others are active, and sleeps on a futex when they are not, until
 * something retained becomes more idle. A forked child starts its own. A process that lives on
 * without its main thread ends with its last one, which the keeper must not be: it looks, and goes.
 */
#include "file.h"
#include "live.h"
#include "policy_state.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 256 << 10 }; /* of which exit handlers may need more than it does */

static _Atomic(uint32_t) never_rung;
static bool is_wanted;
static flag is_started;
static flag main_has_ended; /* by pthread_exit */
static sigset_t signals_of_starter;
static flag activity;                  /* threads were active since the keeper looked */
static _Atomic(uint32_t) private_bell; /* a futex: the keeper waits while it is 0 */
/* The one it waits on: that, or the one in the page of live statistics, which other processes ring,
 * too (live.h). */
static _Atomic(_Atomic(uint32_t) *) bell = &private_bell;

/* The bell is chosen and silenced first, then it is asked whether there is anything to do; who has
 * something to do says so first and then rings. */
static bool silence_bell(void) {
    _Atomic(uint32_t) *live = live_bell();
    if (live) atomic_store(&bell, live);
    atomic_store(atomic_load(&bell), 0);
    return atomic_load(&activity) || live_is_trim_asked();
}

static void ring_bell(void) {
    _Atomic(uint32_t) *futex = atomic_load(&bell);
    atomic_store(futex, 1);
    syscall(SYS_futex, futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* A direct system call: libc's sleeping calls are interposed. */
static void wait_for(_Atomic(uint32_t) *futex, int64_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_futex, futex, FUTEX_WAIT, 0, &t, NULL, 0);
}

/* The keeper is the only thread: the main thread stays as a zombie as long as there are others. */
static bool is_last_thread(void) {
    if (relaxed_load(&os_is_filtered) || !state_take()) return false;
    struct text rest = file_read_own_stat(), state = {"", 0}, number = state;
    int64_t threads = 0;
    text_take_word(&rest, &state);
    for (int place = 2; place <= 18; place++) text_take_word(&rest, &number);
    bool is_last =
        state.bytes == 1 && *state.at == 'Z' && text_take_number(&number, &threads) && threads == 2;
    state_leave();
    return is_last;
}

/* Two rounds after the last activity: the first may have come too early for what was just freed. */
static void *keep(void *unused) {
    (void)unused;
    for (int rounds = 0;; rounds++) {
        if (atomic_exchange(&activity, false)) rounds = 0;
        int64_t wait = housekeep_process(policy_clock_ms());
        if (atomic_load(&main_has_ended)) {
            if (is_last_thread()) break;
            if (wait > EARN_TICK_MS) wait = EARN_TICK_MS;
        }
        if (rounds < 2)
            wait_for(&never_rung, EARN_TICK_MS);
        else if (!silence_bell())
            wait_for(relaxed_load(&bell), wait);
    }
    pthread_sigmask(SIG_SETMASK, &signals_of_starter, NULL); /* for the exit handlers */
    return NULL;
}

static void start(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    int saved = errno;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_BLOCK, &all, &signals_of_starter);
    if (pthread_create(&thread, &attributes, keep, NULL)) is_wanted = false; /* threads do it all */
    pthread_sigmask(SIG_SETMASK, &signals_of_starter, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved;
}

void keeper_init(void) { is_wanted = true; }

void keeper_note_activity(void) {
    if (!is_wanted) return;
    if (!atomic_exchange(&is_started, true)) start();
    if (!atomic_exchange(&activity, true)) ring_bell();
}

void keeper_note_thread_end(void) {
    if (!atomic_load(&is_started) || relaxed_load(&os_is_filtered)) return;
    if (syscall(SYS_gettid) != getpid()) return;
    atomic_store(&main_has_ended, true);
    ring_bell();
}

void keeper_after_fork(void) {
    atomic_store(&main_has_ended, false);
    atomic_store(&bell, &private_bell);
    atomic_store(&is_started, false);
}
