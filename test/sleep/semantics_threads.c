/* Blockers that wait for other threads: semaphores, conditions, joins; and what is particular to
 * conditions. */
#define _GNU_SOURCE
#include "semantics.h"

/* ---- semaphores ---- */

static void open_sem(struct run *r) { sem_init(&r->sem, 0, 0); }
static void end_by_post(struct run *r) { sem_post(&r->sem); }
static void close_sem(struct run *r) { sem_destroy(&r->sem); }

static void sem_ended(struct run *r, int result) {
    int value = -1;
    call_ended(r, result);
    sem_getvalue(&r->sem, &value);
    note(r, "value", value);
}
static void block_sem_wait(struct run *r) {
    call_begins(r);
    sem_ended(r, r->calls->sem_wait(&r->sem));
}
static void block_sem_timedwait(struct run *r) {
    struct timespec until = timespec_in(CLOCK_REALTIME, r->wait_ms + 1);
    call_begins(r);
    sem_ended(r, r->calls->sem_timedwait(&r->sem, &until));
}
static void block_sem_clockwait(struct run *r) {
    struct timespec until = timespec_in(CLOCK_MONOTONIC, r->wait_ms + 1);
    call_begins(r);
    sem_ended(r, r->calls->sem_clockwait(&r->sem, CLOCK_MONOTONIC, &until));
}

/* ---- conditions; there is no predicate, so each wait ends by exactly one signal ---- */

static void open_cond_by(struct run *r, clockid_t clock) {
    pthread_mutexattr_t checked;
    pthread_condattr_t by_clock;
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&r->mutex, &checked);
    pthread_condattr_init(&by_clock);
    pthread_condattr_setclock(&by_clock, clock);
    pthread_cond_init(&r->cond, &by_clock);
}
static void open_cond(struct run *r) { open_cond_by(r, CLOCK_REALTIME); }
static void open_cond_monotonic(struct run *r) { open_cond_by(r, CLOCK_MONOTONIC); }

static void end_by_cond_signal(struct run *r) { pthread_cond_signal(&r->cond); }

static void cond_begins(struct run *r) {
    pthread_mutex_lock(&r->mutex);
    r->holds_mutex = true; /* a cancelled thread unlocks in its clean-up handler */
    call_begins(r);
}
static void cond_ended(struct run *r, int result) {
    call_ended(r, result);
    r->holds_mutex = false;
    note(r, "unlock", pthread_mutex_unlock(&r->mutex)); /* EPERM unless it holds it */
}
static void block_cond_wait(struct run *r) {
    cond_begins(r);
    cond_ended(r, r->calls->pthread_cond_wait(&r->cond, &r->mutex));
}
static void block_cond_timedwait(struct run *r) {
    struct timespec until = timespec_in(CLOCK_REALTIME, r->wait_ms + 1);
    cond_begins(r);
    cond_ended(r, r->calls->pthread_cond_timedwait(&r->cond, &r->mutex, &until));
}
static void block_cond_timedwait_monotonic(struct run *r) {
    struct timespec until = timespec_in(CLOCK_MONOTONIC, r->wait_ms + 1);
    cond_begins(r);
    cond_ended(r, r->calls->pthread_cond_timedwait(&r->cond, &r->mutex, &until));
}
static void block_cond_clockwait(struct run *r) {
    struct timespec until = timespec_in(CLOCK_MONOTONIC, r->wait_ms + 1);
    cond_begins(r);
    cond_ended(r, r->calls->pthread_cond_clockwait(&r->cond, &r->mutex, CLOCK_MONOTONIC, &until));
}

/* ---- join ---- */

static void *joinee(void *run) {
    struct run *r = run;
    while (sem_trywait(&r->sem)) rest_ms(1); /* not a wait that somebody could have broken */
    return (void *)7;
}
static void open_join(struct run *r) {
    sem_init(&r->sem, 0, 0);
    if (pthread_create(&r->joinee, NULL, joinee, r)) abort();
}
static void block_join(struct run *r) {
    void *value = (void *)CANARY;
    call_begins(r);
    int result = r->calls->pthread_join(r->joinee, &value);
    r->is_joined = result == 0;
    call_ended(r, result);
    note(r, "the thread's result", (long)value);
}
static void close_join(struct run *r) {
    sem_post(&r->sem);
    if (!r->is_joined) libc.pthread_join(r->joinee, NULL);
}

enum { SEM = HANDLER_ENDS };
const struct blocker thread_blockers[] = {
    {"sem_wait", "sem_wait", SEM | ENDLESS, open_sem, block_sem_wait, end_by_post, close_sem},
    {"sem_timedwait", "sem_timedwait", SEM | TIMED, open_sem, block_sem_timedwait, end_by_post,
     close_sem},
    {"sem_clockwait", "sem_clockwait", SEM | TIMED, open_sem, block_sem_clockwait, end_by_post,
     close_sem},
    {"pthread_cond_wait", "pthread_cond_wait", ENDLESS, open_cond, block_cond_wait,
     end_by_cond_signal, NULL},
    {"pthread_cond_timedwait", "pthread_cond_timedwait", TIMED, open_cond, block_cond_timedwait,
     end_by_cond_signal, NULL},
    {"pthread_cond_timedwait monotonic", "pthread_cond_timedwait", TIMED, open_cond_monotonic,
     block_cond_timedwait_monotonic, end_by_cond_signal, NULL},
    {"pthread_cond_clockwait", "pthread_cond_clockwait", TIMED, open_cond, block_cond_clockwait,
     end_by_cond_signal, NULL},
    {"pthread_join", "pthread_join", ENDLESS, open_join, block_join, end_by_post, close_join},
    {0},
};

/* ---- stories of conditions ---- */

static bool is_condition(const struct blocker *b) { return !strncmp(b->call, "pthread_cond", 12); }

static void lock(struct run *r) { pthread_mutex_lock(&r->mutex); }
static void unlock(struct run *r) { pthread_mutex_unlock(&r->mutex); }
static void broadcast(struct run *r) { pthread_cond_broadcast(&r->cond); }

/* Whoever leaves the wait around the moment, for whatever reason, needs the mutex to get back into
 * it, and misses the signal. */
static void signalled_under_mutex(struct run *r) {
    r->wait_ms = r->blocker->is & TIMED ? 600 : FOR_EVER;
    plan(r, r->moment_ms - 40, lock);
    plan_after(r, 60, end_by_cond_signal);
    plan_after(r, 20, unlock);
    go(r);
}

/* ---- two waiters ---- */

struct waiter {
    struct run *run; /* whose condition and mutex it waits with */
    pthread_t thread;
    int64_t ended_ns;
    int result, unlock_result;
};
static struct waiter waiter[2];
static int waiting;

static bool is_plain_condition(const struct blocker *b) {
    return is_condition(b) && !strcmp(b->name, b->call);
}

static void unlock_cancelled(void *waiter) {
    struct waiter *w = waiter;
    w->unlock_result = pthread_mutex_unlock(&w->run->mutex);
}

static int wait_by_name(struct run *r, const char *call) {
    if (!strcmp(call, "pthread_cond_wait")) return r->calls->pthread_cond_wait(&r->cond, &r->mutex);
    clockid_t clock = strcmp(call, "pthread_cond_timedwait") ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    struct timespec until = timespec_in(clock, 3000);
    return clock == CLOCK_REALTIME
               ? r->calls->pthread_cond_timedwait(&r->cond, &r->mutex, &until)
               : r->calls->pthread_cond_clockwait(&r->cond, &r->mutex, clock, &until);
}

static void *wait_once(void *own) {
    struct waiter *w = own;
    struct run *r = w->run;
    if (r->state != UNDER_LIBC) make_garbage();
    pthread_mutex_lock(&r->mutex);
    waiting++;
    pthread_cleanup_push(unlock_cancelled, w);
    w->result = wait_by_name(r, r->blocker->call);
    w->ended_ns = now_ns();
    pthread_cleanup_pop(1);
    return NULL;
}

static void waiters_start(struct run *r) {
    open_cond(r);
    for (int i = 0; i < 2; i++) {
        waiter[i] = (struct waiter){.run = r, .result = CANARY, .unlock_result = CANARY};
        if (pthread_create(&waiter[i].thread, NULL, wait_once, &waiter[i])) abort();
    }
    for (bool are_waiting = false; !are_waiting; rest_ms(1)) {
        pthread_mutex_lock(&r->mutex);
        are_waiting = waiting == 2;
        pthread_mutex_unlock(&r->mutex);
    }
}

/* Joins them; the last step is the broadcast that none should have needed. */
static void waiters_end(struct run *r) {
    helper_start(r);
    helper_join(r);
    for (int i = 0; i < 2; i++) {
        void *value;
        libc.pthread_join(waiter[i].thread, &value);
        note(r, "cancelled", value == PTHREAD_CANCELED);
        note(r, "result", waiter[i].result);
        note(r, "unlock", waiter[i].unlock_result);
        if (waiter[i].ended_ns >= r->step[r->steps - 1].done_ns)
            complain(r, "waiter %d slept on", i);
        if (waiter[i].ended_ns && waiter[i].ended_ns < r->step[0].done_ns)
            complain(r, "waiter %d woke before the first signal", i);
    }
}

static void two_waiters(struct run *r, int apart_ms) {
    waiters_start(r);
    plan(r, r->moment_ms, end_by_cond_signal);
    plan_after(r, apart_ms, end_by_cond_signal);
    plan_after(r, 150, broadcast);
    waiters_end(r);
}
static void two_at_once(struct run *r) { two_waiters(r, 0); }
static void two_apart(struct run *r) { two_waiters(r, 30); }

static void cancel_first(struct run *r) {
    (void)r;
    pthread_cancel(waiter[0].thread);
}

/* One that is cancelled does not take the other's signal with it. */
static void first_cancelled(struct run *r) {
    waiters_start(r);
    plan(r, r->moment_ms, cancel_first);
    plan_after(r, 20, end_by_cond_signal);
    plan_after(r, 150, broadcast);
    waiters_end(r);
}

const struct family condition_families[] = {
    {"signalled by one who holds the mutex", is_condition, signalled_under_mutex, true, 0, 0},
    {"two waiters, two signals at once", is_plain_condition, two_at_once, true, 0, 0},
    {"two waiters, two signals apart", is_plain_condition, two_apart, true, 0, 0},
    {"two waiters, one is cancelled", is_plain_condition, first_cancelled, true, 0, 0},
    {0},
};
