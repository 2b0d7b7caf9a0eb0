/* Arguments that waits for time, children and threads refuse, and their corners. */
#define _GNU_SOURCE
#include "semantics.h"

#include <sys/mman.h>

#define BAD (bad_address)

/* A case that is one call: its result and errno are what counts. */
#define CASE(name, expression)        \
    static void name(struct run *r) { \
        call_begins(r);               \
        long result = (expression);   \
        call_ended(r, result);        \
    }
#define CALL_OF(name) (r->calls->name)
#define TIME(s, ns)   (&(struct timespec){(s), (ns)})

/* ---- nanosleep ---- */

CASE(nanosleep_negative, CALL_OF(nanosleep)(TIME(0, -1), NULL))
CASE(nanosleep_second, CALL_OF(nanosleep)(TIME(0, 1000000000), NULL))
CASE(nanosleep_past, CALL_OF(nanosleep)(TIME(-1, 0), NULL))
CASE(nanosleep_bad, CALL_OF(nanosleep)(BAD, NULL))
CASE(nanosleep_null, CALL_OF(nanosleep)(NULL, NULL))
CASE(nanosleep_zero, CALL_OF(nanosleep)(TIME(0, 0), NULL))
CASE(nanosleep_bad_left, CALL_OF(nanosleep)(TIME(0, 150000000), BAD))
CASE(usleep_zero, CALL_OF(usleep)(0))
CASE(sleep_zero, CALL_OF(sleep)(0))

/* Interrupted with nowhere to tell how much is left. */
static void nanosleep_bad_left_interrupted(struct run *r) {
    catch_signal(r, 0, NULL);
    r->sleeper = pthread_self();
    plan(r, 50, send_signal);
    helper_start(r);
    call_begins(r);
    call_ended(r, r->calls->nanosleep(TIME(0, 300000000), BAD));
    helper_join(r);
}

/* An age, which no arithmetic may make wrap around. */
static void ages(struct run *r, bool is_clock) {
    struct timespec age = {INT64_MAX, 999999999};
    catch_signal(r, 0, NULL);
    r->sleeper = pthread_self();
    plan(r, 130, send_signal);
    helper_start(r);
    call_begins(r);
    call_ended(r, is_clock ? r->calls->clock_nanosleep(CLOCK_MONOTONIC, 0, &age, NULL)
                           : r->calls->nanosleep(&age, NULL));
    helper_join(r);
}
static void nanosleep_ages(struct run *r) { ages(r, false); }
static void clock_nanosleep_ages(struct run *r) { ages(r, true); }

/* ---- clock_nanosleep ---- */

#define CLOCK_CASE(name, clock, flags, request, left) \
    CASE(name, CALL_OF(clock_nanosleep)(clock, flags, request, left))
CLOCK_CASE(clock_unknown, 99, 0, TIME(0, 150000000), NULL)
CLOCK_CASE(clock_thread, CLOCK_THREAD_CPUTIME_ID, 0, TIME(0, 150000000), NULL)
CLOCK_CASE(clock_coarse, CLOCK_MONOTONIC_COARSE, 0, TIME(0, 150000000), NULL)
CLOCK_CASE(clock_raw, CLOCK_MONOTONIC_RAW, 0, TIME(0, 150000000), NULL)
CLOCK_CASE(clock_past, CLOCK_MONOTONIC, TIMER_ABSTIME, TIME(1, 0), NULL)
CLOCK_CASE(clock_past_realtime, CLOCK_REALTIME, TIMER_ABSTIME, TIME(1, 0), NULL)
CLOCK_CASE(clock_before_zero, CLOCK_MONOTONIC, TIMER_ABSTIME, TIME(-5, 0), NULL)
CLOCK_CASE(clock_second, CLOCK_MONOTONIC, TIMER_ABSTIME, TIME(1, 1000000000), NULL)
CLOCK_CASE(clock_negative, CLOCK_REALTIME, 0, TIME(0, -1), NULL)
CLOCK_CASE(clock_bad, CLOCK_MONOTONIC, 0, BAD, NULL)
CLOCK_CASE(clock_null, CLOCK_MONOTONIC, TIMER_ABSTIME, NULL, NULL)
CLOCK_CASE(clock_flags, CLOCK_MONOTONIC, 2, TIME(0, 150000000), NULL)
CLOCK_CASE(clock_bad_left, CLOCK_MONOTONIC, 0, TIME(0, 150000000), BAD)

/* ---- children ---- */

CASE(wait_none, CALL_OF(wait)(NULL))
CASE(waitpid_none, CALL_OF(waitpid)(-1, NULL, WNOHANG))
CASE(waitpid_flags, CALL_OF(waitpid)(-1, NULL, 0x7f000000))
CASE(wait3_none, CALL_OF(wait3)(NULL, 0, NULL))
CASE(wait4_none, CALL_OF(wait4)(1, NULL, 0, NULL))
CASE(waitid_type, CALL_OF(waitid)(99, 1, NULL, WEXITED))
CASE(waitid_flags, CALL_OF(waitid)(P_ALL, 0, NULL, 0))

static pid_t child_that(void (*what)(void)) {
    pid_t child = fork();
    if (child < 0) abort();
    if (child) return child;
    what();
    _exit(3);
}
static void rests(void) { rest_ms(10000); }
static void stops(void) { raise(SIGSTOP); }
static void exits(void) {}
static void end(pid_t child) {
    kill(child, SIGKILL);
    libc.waitpid(child, NULL, 0);
}

static void waitpid_running(struct run *r) {
    pid_t child = child_that(rests);
    int status = CANARY;
    call_begins(r);
    call_ended(r, r->calls->waitpid(child, &status, WNOHANG));
    note(r, "status", status);
    end(child);
}
static void waitid_running(struct run *r) {
    pid_t child = child_that(rests);
    siginfo_t info = {.si_signo = CANARY};
    info.si_pid = CANARY;
    call_begins(r);
    call_ended(r, r->calls->waitid(P_ALL, 0, &info, WEXITED | WNOHANG));
    note(r, "signal", info.si_signo);
    note(r, "pid", info.si_pid);
    end(child);
}
static void waitpid_stopped(struct run *r) {
    pid_t child = child_that(stops);
    int status = CANARY;
    call_begins(r);
    call_ended(r, r->calls->waitpid(child, &status, WUNTRACED) == child);
    note(r, "status", status);
    end(child);
}
static void wait_bad(struct run *r) {
    pid_t child = child_that(exits);
    rest_ms(20);
    call_begins(r);
    long result = r->calls->waitpid(child, BAD, 0);
    call_ended(r, result == child ? 1 : result);
}
/* Its parent ignores its children: the kernel takes them, and the wait ends when none is left. */
static void wait_ignored(struct run *r) {
    signal(SIGCHLD, SIG_IGN);
    child_that(exits);
    call_begins(r);
    call_ended(r, r->calls->wait(NULL));
}

/* ---- semaphores, conditions, threads ---- */

static void sem_case(struct run *r, unsigned value, const struct timespec *until, clockid_t clock) {
    sem_init(&r->sem, 0, value);
    call_begins(r);
    call_ended(r, clock == CLOCK_REALTIME ? r->calls->sem_timedwait(&r->sem, until)
                                          : r->calls->sem_clockwait(&r->sem, clock, until));
}
static void sem_second(struct run *r) { sem_case(r, 0, TIME(1, 1000000000), CLOCK_REALTIME); }
static void sem_past(struct run *r) { sem_case(r, 0, TIME(1, 0), CLOCK_REALTIME); }
static void sem_free_past(struct run *r) { sem_case(r, 1, TIME(1, 0), CLOCK_REALTIME); }
static void sem_free_second(struct run *r) { sem_case(r, 1, TIME(1, -1), CLOCK_REALTIME); }
static void sem_clock(struct run *r) { sem_case(r, 0, TIME(1, 0), 99); }
static void sem_clock_past(struct run *r) { sem_case(r, 0, TIME(1, 0), CLOCK_MONOTONIC); }

static void cond_case(struct run *r, bool owns, const struct timespec *until, clockid_t clock) {
    pthread_mutexattr_t checked;
    pthread_mutexattr_init(&checked);
    pthread_mutexattr_settype(&checked, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&r->mutex, &checked);
    pthread_cond_init(&r->cond, NULL);
    if (owns) pthread_mutex_lock(&r->mutex);
    call_begins(r);
    if (!until)
        call_ended(r, r->calls->pthread_cond_wait(&r->cond, &r->mutex));
    else if (clock == CLOCK_REALTIME)
        call_ended(r, r->calls->pthread_cond_timedwait(&r->cond, &r->mutex, until));
    else
        call_ended(r, r->calls->pthread_cond_clockwait(&r->cond, &r->mutex, clock, until));
    note(r, "unlock", pthread_mutex_unlock(&r->mutex));
}
static void cond_unowned(struct run *r) { cond_case(r, false, NULL, 0); }
static void cond_second(struct run *r) { cond_case(r, true, TIME(1, 1000000000), CLOCK_REALTIME); }
static void cond_past(struct run *r) { cond_case(r, true, TIME(1, 0), CLOCK_REALTIME); }
static void cond_clock(struct run *r) { cond_case(r, true, TIME(1, 0), 99); }
static void cond_clock_past(struct run *r) { cond_case(r, true, TIME(1, 0), CLOCK_MONOTONIC); }

CASE(join_self, CALL_OF(pthread_join)(pthread_self(), NULL))

static void *ends_soon(void *unused) {
    rest_ms(50);
    return unused;
}
static void join_detached(struct run *r) {
    pthread_t thread;
    pthread_create(&thread, NULL, ends_soon, NULL);
    pthread_detach(thread);
    call_begins(r);
    call_ended(r, r->calls->pthread_join(thread, NULL));
}

const struct special specials[] = {
    {"nanosleep", "negative nanoseconds", nanosleep_negative},
    {"nanosleep", "a second of nanoseconds", nanosleep_second},
    {"nanosleep", "negative seconds", nanosleep_past},
    {"nanosleep", "request at a bad address", nanosleep_bad},
    {"nanosleep", "no request", nanosleep_null},
    {"nanosleep", "nothing", nanosleep_zero},
    {"nanosleep", "remainder at a bad address", nanosleep_bad_left},
    {"nanosleep", "remainder at a bad address, interrupted", nanosleep_bad_left_interrupted},
    {"nanosleep", "ages", nanosleep_ages},
    {"usleep", "nothing", usleep_zero},
    {"sleep", "nothing", sleep_zero},
    {"clock_nanosleep", "unknown clock", clock_unknown},
    {"clock_nanosleep", "the thread's clock", clock_thread},
    {"clock_nanosleep", "the coarse clock", clock_coarse},
    {"clock_nanosleep", "the raw clock", clock_raw},
    {"clock_nanosleep", "until long ago", clock_past},
    {"clock_nanosleep", "until long ago by the real clock", clock_past_realtime},
    {"clock_nanosleep", "until before zero", clock_before_zero},
    {"clock_nanosleep", "a second of nanoseconds", clock_second},
    {"clock_nanosleep", "negative nanoseconds", clock_negative},
    {"clock_nanosleep", "request at a bad address", clock_bad},
    {"clock_nanosleep", "no request", clock_null},
    {"clock_nanosleep", "an unknown flag", clock_flags},
    {"clock_nanosleep", "remainder at a bad address", clock_bad_left},
    {"clock_nanosleep", "ages", clock_nanosleep_ages},
    {"wait", "no child", wait_none},
    {"wait", "children that are ignored", wait_ignored},
    {"waitpid", "no child", waitpid_none},
    {"waitpid", "unknown flags", waitpid_flags},
    {"waitpid", "a child that goes on, without hanging", waitpid_running},
    {"waitpid", "a child that is stopped", waitpid_stopped},
    {"waitpid", "status at a bad address", wait_bad},
    {"wait3", "no child", wait3_none},
    {"wait4", "not a child", wait4_none},
    {"waitid", "unknown type", waitid_type},
    {"waitid", "nothing asked for", waitid_flags},
    {"waitid", "a child that goes on, without hanging", waitid_running},
    {"sem_timedwait", "a second of nanoseconds", sem_second},
    {"sem_timedwait", "until long ago", sem_past},
    {"sem_timedwait", "free, until long ago", sem_free_past},
    {"sem_timedwait", "free, negative nanoseconds", sem_free_second},
    {"sem_clockwait", "unknown clock", sem_clock},
    {"sem_clockwait", "until long ago", sem_clock_past},
    {"pthread_cond_wait", "a mutex that it does not hold", cond_unowned},
    {"pthread_cond_timedwait", "a second of nanoseconds", cond_second},
    {"pthread_cond_timedwait", "until long ago", cond_past},
    {"pthread_cond_clockwait", "unknown clock", cond_clock},
    {"pthread_cond_clockwait", "until long ago", cond_clock_past},
    {"pthread_join", "itself", join_self},
    {"pthread_join", "a detached thread", join_detached},
    {0},
};
