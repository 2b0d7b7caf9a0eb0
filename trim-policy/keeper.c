/* The keeper: a thread that keeps house also while all others compute or sleep. Only with
 * LOWTIDE_HOUSEKEEP=thread.
 *
 * It starts at the first housekeeping of the process, has all signals blocked and a small stack,
 * works every 100 ms while the others are active, and sleeps on a futex when they are not, until
 * something retained becomes more idle. A forked child starts its own.
 */
#include "policy_state.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 64 << 10 };

static bool is_wanted;
static _Atomic(bool) is_started;
static _Atomic(uint32_t) activity; /* a futex: 1 = threads were active since the keeper looked */

/* Direct system calls: libc's sleeping calls are interposed. */
static void futex_wait(int64_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_futex, &activity, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0);
}

static void pause_ms(int64_t ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &t, NULL);
}

/* Two rounds after the last activity: the first may have come too early for what was just freed. */
static void *keep(void *unused) {
    (void)unused;
    for (int rounds = 0;; rounds++) {
        if (atomic_exchange(&activity, 0)) rounds = 0;
        int64_t wait = housekeep_process(policy_clock_ms());
        if (rounds < 2)
            pause_ms(EARN_TICK_MS);
        else
            futex_wait(wait);
    }
    return NULL;
}

static void start(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int saved = errno;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    if (pthread_create(&thread, &attributes, keep, NULL)) is_wanted = false; /* threads do it all */
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved;
}

void keeper_init(void) { is_wanted = true; }

void keeper_note_activity(void) {
    if (!is_wanted) return;
    if (!atomic_exchange(&is_started, true)) start();
    if (!atomic_exchange(&activity, 1))
        syscall(SYS_futex, &activity, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void keeper_after_fork(void) { atomic_store(&is_started, false); }
