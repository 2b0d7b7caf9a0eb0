/* The stories in which something happens in the very middle of giving back: between the halves of a
 * wait that is split, or before a wait begins. release.so makes the moment certain. */
#define _GNU_SOURCE
#include "semantics.h"

static int short_wait(const struct run *r) {
    if (!(r->blocker->is & TIMED)) return FOR_EVER;
    return r->blocker->is & SECONDS ? 1000 : 300;
}

/* ---- between the halves ---- */

static bool is_split(const struct blocker *b) {
    return &release_hook && b->is & SPLIT && !(b->is & ABSOLUTE);
}
static bool is_split_with_event(const struct blocker *b) { return is_split(b) && b->end; }
static bool is_split_with_mask(const struct blocker *b) { return is_split(b) && b->is & MASKED; }

static void plan_in_middle(struct run *r, action *act) {
    r->wait_ms = 300;
    if (r->state == LATER)
        plan_in_give_back(r, act);
    else
        plan(r, 50, act);
}
static void signal_in_middle(struct run *r) {
    catch_signal(r, 0, NULL);
    plan_in_middle(r, send_signal);
    go(r);
}
static void twice(struct run *r) {
    send_signal(r);
    pthread_kill(r->sleeper, SIGWINCH);
}
static volatile sig_atomic_t others_handled;
static void on_other(int signal) {
    (void)signal;
    others_handled++;
}
static void two_signals_in_middle(struct run *r) {
    struct sigaction action = {.sa_handler = on_other};
    others_handled = 0;
    sigaction(SIGWINCH, &action, NULL);
    catch_signal(r, 0, NULL);
    plan_in_middle(r, twice);
    go(r);
    note(r, "handled of the other signal", others_handled);
}
static void blocked_signal_in_middle(struct run *r) {
    sigset_t set = set_of(SIGUSR1);
    catch_signal(r, 0, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    plan_in_middle(r, send_signal);
    go(r);
}
static void masked_in_middle(struct run *r) {
    sigset_t set = set_of(SIGUSR1);
    catch_signal(r, 0, NULL);
    r->mask = &set;
    plan_in_middle(r, send_signal);
    go(r);
}
static void unmasked_in_middle(struct run *r) {
    sigset_t set = set_of(SIGUSR1), none = set_of(0);
    catch_signal(r, 0, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    r->mask = &none;
    plan_in_middle(r, send_signal);
    go(r);
}
static void event_in_middle(struct run *r) {
    plan_in_middle(r, r->blocker->end);
    go(r);
}

/* By another thread, which waits for its turn: a thread that cancels itself asks for no signal. */
static _Atomic(bool) is_turn, is_done;
static void *cancel_when_told(void *run) {
    while (!is_turn) rest_ms(1);
    cancel_sleeper(run);
    is_done = true;
    return NULL;
}
static void let_cancel(struct run *r) {
    if (r->hook_steps) {
        is_turn = true;
        while (!is_done) continue; /* any wait would be a cancellation point */
    } else
        cancel_sleeper(r);
}
static void prepare_canceller(struct run *r) {
    pthread_t thread;
    if (r->state != UNDER_LIBC && pthread_create(&thread, NULL, cancel_when_told, r)) abort();
}

static void cancelled_in_middle(struct run *r) {
    prepare_canceller(r);
    plan_in_middle(r, let_cancel);
    r->has_aftermath = true;
    go_as_victim(r, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_DEFERRED);
}

/* ---- before the wait begins ---- */

static bool can_be_hooked(const struct blocker *b) {
    return &release_hook && !(b->is & (ABSOLUTE | SIGNAL_ENDS));
}

/* The signal is handled, then the wait begins: as if it had come right before the call. */
static void signal_in_give_back(struct run *r) {
    catch_signal(r, 0, NULL);
    r->wait_ms = short_wait(r);
    r->sleeper = pthread_self();
    r->forgives_early_step = true;
    if (r->state == READY)
        plan_in_give_back(r, send_signal);
    else {
        plan(r, 0, send_signal);
        r->step[0].done_ns = r->step[0].at_ns = now_ns();
        r->hook_steps = 1;
    }
    if (r->blocker->end) plan_after(r, 100, r->blocker->end);
    if (r->state != READY) send_signal(r);
    go(r);
}

static bool can_be_cancelled(const struct blocker *b) {
    return can_be_hooked(b) && (!strcmp(b->name, "nanosleep") || !strcmp(b->name, "poll"));
}
static void async_in_give_back(struct run *r) {
    r->wait_ms = 300;
    prepare_canceller(r);
    if (r->state == READY)
        plan_in_give_back(r, let_cancel);
    else
        plan(r, 50, cancel_sleeper);
    r->forgives_early_step = true;
    r->has_aftermath = true;
    go_as_victim(r, PTHREAD_CANCEL_ENABLE, PTHREAD_CANCEL_ASYNCHRONOUS);
}

/* ---- the kernel refuses what would be given back ---- */

static bool can_be_refused(const struct blocker *b) {
    return &release_hook && (b->is & TIMED || b->end);
}
static void refused(struct run *r) {
    r->wait_ms = short_wait(r);
    if (!(r->blocker->is & TIMED)) plan(r, 150, r->blocker->end);
    release_refuses = r->state != UNDER_LIBC;
    go(r);
    release_refuses = 0;
}

const struct family middle_families[] = {
    {"signal between the halves", is_split, signal_in_middle, false, 1, 0},
    {"two signals between the halves", is_split, two_signals_in_middle, false, 1, 0},
    {"signal between the halves that the thread blocks", is_split, blocked_signal_in_middle, false,
     1, 0},
    {"signal between the halves that the call blocks", is_split_with_mask, masked_in_middle, false,
     1, 0},
    {"signal between the halves that the call unblocks", is_split_with_mask, unmasked_in_middle,
     false, 1, 0},
    {"event between the halves", is_split_with_event, event_in_middle, false, 1, 0},
    {"cancelled between the halves", is_split, cancelled_in_middle, false, 1, 0},
    {"signal while it gives back", can_be_hooked, signal_in_give_back, false, 0, 1},
    {"cancelled asynchronously while it gives back", can_be_cancelled, async_in_give_back, false, 0,
     1},
    {"releases are refused", can_be_refused, refused, false, 0, 0},
    {0},
};
