/* The stories of threads that leave a call by cancellation, or by siglongjmp out of a handler.
 *
 * The main thread is the one that leaves, since its heap is the prepared one; another thread, which
 * has no heap, looks after the rest and ends the process. */
#define _GNU_SOURCE
#include "semantics.h"

#include <setjmp.h>

static int short_wait(const struct run *r) {
    if (!(r->blocker->is & TIMED)) return FOR_EVER;
    return r->blocker->is & SECONDS ? 1000 : 300;
}

/* The aftermath is long: not for every moment. */
static bool is_checked(const struct run *r) { return r->moment_ms == 50 || r->moment_ms == 100; }

static void *look_after(void *run) {
    struct run *r = run;
    void *value = NULL;
    libc.pthread_join(r->sleeper, &value);
    helper_join(r);
    note(r, "result", (long)value);
    judge_time(r);
    if (r->blocker->close) r->blocker->close(r);
    if (r->has_aftermath) aftermath(r);
    r->is_over = true;
    _exit(0);
}

static void begin(struct run *r) {
    pthread_t caretaker;
    r->sleeper = pthread_self();
    if (r->blocker->open) r->blocker->open(r);
    if (pthread_create(&caretaker, NULL, look_after, r)) abort();
    helper_start(r);
}

/* ---- cancellation ---- */

void cancel_sleeper(struct run *r) { pthread_cancel(r->sleeper); }

static void on_cancelled(void *run) {
    struct run *r = run;
    call_is_over(r);
    note(r, "mask in the clean-up handler", mask_now());
    if (r->holds_mutex) note(r, "unlock", pthread_mutex_unlock(&r->mutex));
}

void go_as_victim(struct run *r, int cancel_state, int cancel_type) {
    sigset_t blocked = set_of(SIGHUP);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    begin(r);
    pthread_setcancelstate(cancel_state, NULL);
    pthread_cleanup_push(on_cancelled, r);
    if (r->is_cancelled_before) {
        pthread_cancel(pthread_self());
        r->began_ns = now_ns();
    }
    pthread_setcanceltype(cancel_type, NULL);
    r->blocker->block(r);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    pthread_exit((void *)7);
}

static bool any(const struct blocker *b) { return b; }
static void nothing(struct run *r) { (void)r; }

static void plan_with_way_out(struct run *r, int ms, action *act) {
    r->wait_ms = short_wait(r);
    plan(r, ms, act);
    if (r->blocker->end) plan_after(r, 100, r->blocker->end);
}
static void cancelled(struct run *r) {
    plan_with_way_out(r, r->moment_ms, cancel_sleeper);
    r->has_aftermath = is_checked(r);
    go_as_victim(r, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_DEFERRED);
}
static void cancelled_before(struct run *r) {
    r->forgives_early_step = true;
    plan_with_way_out(r, 120, nothing);
    r->has_aftermath = r->is_cancelled_before = true;
    go_as_victim(r, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_DEFERRED);
}
static void cancel_disabled(struct run *r) {
    plan_with_way_out(r, r->moment_ms, cancel_sleeper);
    go_as_victim(r, PTHREAD_CANCEL_DISABLE, PTHREAD_CANCEL_DEFERRED);
}

/* No standard promises that these can be left so; with libc's they can. */
static bool is_async(const struct blocker *b) {
    return !strcmp(b->name, "nanosleep") || !strcmp(b->name, "poll") || !strcmp(b->name, "pause") ||
           !strcmp(b->name, "select") || !strcmp(b->name, "read");
}
static void cancelled_at_once(struct run *r) {
    plan_with_way_out(r, r->moment_ms, cancel_sleeper);
    r->has_aftermath = is_checked(r);
    go_as_victim(r, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_ASYNCHRONOUS);
}

const struct family cancel_families[] = {
    {"cancelled", any, cancelled, true, 0, 0},
    {"cancelled before it", any, cancelled_before, false, 0, 0},
    {"cancelled while that is disabled", any, cancel_disabled, true, 0, 0},
    {"cancelled asynchronously", is_async, cancelled_at_once, true, 0, 0},
    {0},
};

/* ---- siglongjmp ---- */

static sigjmp_buf before_call;

static void jump(void) { siglongjmp(before_call, 1); }

/* The signal has been blocked by plan_jump, so that it does not come before there is somewhere to
 * go. */
static void leave_by_jump(struct run *r) {
    sigset_t set = set_of(SIGUSR1);
    if (!sigsetjmp(before_call, 1)) {
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        r->blocker->block(r);
        return;
    }
    r->ended_ns = now_ns();
    note(r, "mask after the jump", mask_now());
    if (r->has_aftermath) make_garbage();
    note(r, "a wait afterwards", r->calls->poll(NULL, 0, 5));
}

static void plan_jump(struct run *r) {
    sigset_t set = set_of(SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    catch_signal(r, 0, jump);
    r->wait_ms = short_wait(r);
    r->has_aftermath = is_checked(r);
    plan(r, r->moment_ms, send_signal);
}

/* Twice: the second time must be as good as the first. */
static void jump_and_stay(struct run *r) {
    r->sleeper = pthread_self();
    if (r->blocker->open) r->blocker->open(r);
    for (int i = 0; i < 2; i++) {
        r->steps = 0;
        plan_jump(r);
        helper_start(r);
        leave_by_jump(r);
        helper_join(r);
        judge_time(r);
        r->base_ns = now_ns();
    }
    if (r->blocker->close) r->blocker->close(r);
}
static void jump_alone(struct run *r) {
    jump_and_stay(r);
    if (r->has_aftermath) aftermath(r);
}

static void jump_beside(struct run *r) {
    neighbour_start();
    jump_and_stay(r);
    neighbour_stop();
    churn(NULL);
}

static void jump_then_exit(struct run *r) {
    plan_jump(r);
    begin(r);
    leave_by_jump(r);
    pthread_exit((void *)7);
}

static void jump_then_cancel(struct run *r) {
    plan_jump(r);
    begin(r);
    leave_by_jump(r);
    pthread_cancel(pthread_self());
    r->calls->poll(NULL, 0, 1000);
    pthread_exit((void *)7);
}

/* The signal comes while the call gives back, before it blocks. */
static void jump_from_give_back(struct run *r) {
    r->forgives_early_step = true;
    plan_jump(r);
    r->steps = 0;
    if (r->state == READY)
        plan_in_give_back(r, send_signal);
    else
        plan(r, 50, send_signal);
    begin(r);
    leave_by_jump(r);
    pthread_exit((void *)7);
}

static bool may_jump(const struct blocker *b) { return b->is & JUMPABLE; }
static bool may_jump_and_hook(const struct blocker *b) { return &release_hook && may_jump(b); }

const struct family jump_families[] = {
    {"left by siglongjmp", may_jump, jump_alone, true, 0, 0},
    {"left by siglongjmp beside a thread that allocates", may_jump, jump_beside, false, 0, 0},
    {"left by siglongjmp, then pthread_exit", may_jump, jump_then_exit, true, 0, 0},
    {"left by siglongjmp, then cancelled", may_jump, jump_then_cancel, true, 0, 0},
    {"left by siglongjmp while it gives back", may_jump_and_hook, jump_from_give_back, false, 0, 1},
    {0},
};
