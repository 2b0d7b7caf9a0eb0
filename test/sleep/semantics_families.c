/* The stories of time-outs, events and signals. */
#define _GNU_SOURCE
#include "semantics.h"

static const struct blocker *of(const struct run *r) { return r->blocker; }

/* A time-out that is not to be reached, in the units the call takes. */
static int long_wait(const struct run *r) { return of(r)->is & ENDLESS ? FOR_EVER : 3000; }
/* One that is reached when nothing else happens; calls without a time-out are ended by an event. */
static int short_wait(const struct run *r) {
    if (!(of(r)->is & TIMED)) return FOR_EVER;
    return of(r)->is & SECONDS ? 1000 : 300;
}
static void plan_way_out(struct run *r, int ms) {
    if (of(r)->end) plan_after(r, ms, of(r)->end);
}
static void nothing(struct run *r) { (void)r; }

/* ---- time-outs and events ---- */

static bool is_timed(const struct blocker *b) { return b->is & TIMED; }
static bool can_wait_ms(const struct blocker *b) { return b->is & TIMED && !(b->is & SECONDS); }
static bool has_event(const struct blocker *b) { return b->end; }
/* One that is not lost when nobody waits yet. */
static bool has_early_event(const struct blocker *b) {
    return b->end && !(b->is & SIGNAL_ENDS) && strncmp(b->call, "pthread_cond", 12);
}
static bool has_both(const struct blocker *b) { return b->end && b->is & TIMED; }

static void times_out_now(struct run *r) {
    r->wait_ms = 0;
    go(r);
}
static void times_out_soon(struct run *r) {
    r->wait_ms = 30;
    go(r);
}
static void times_out(struct run *r) {
    r->judges_memory = true;
    r->wait_ms = of(r)->is & SECONDS ? 1000 : 250;
    go(r);
}

static void is_ready(struct run *r) {
    r->wait_ms = long_wait(r);
    plan(r, 0, of(r)->end);
    r->forgives_early_step = true;
    if (of(r)->open) of(r)->open(r);
    helper_start(r);
    helper_join(r);
    rest_ms(5);
    r->sleeper = pthread_self();
    of(r)->block(r);
    if (r->ended_ns - r->began_ns > 80000000)
        snprintf(r->inconclusive, sizeof r->inconclusive, "ended late");
    if (of(r)->close) of(r)->close(r);
}
static void event(struct run *r) {
    r->wait_ms = long_wait(r);
    plan(r, r->moment_ms, of(r)->end);
    go(r);
}
static void event_and_memory(struct run *r) {
    r->judges_memory = true;
    event(r);
}
static void event_in_time(struct run *r) {
    r->wait_ms = 400;
    plan(r, r->moment_ms, of(r)->end);
    go(r);
}

/* ---- signals ---- */

static bool any(const struct blocker *b) { return b; }
static bool takes_mask(const struct blocker *b) { return b->is & MASKED; }
static bool takes_mask_and_time(const struct blocker *b) {
    return b->is & MASKED && b->is & (TIMED | SIGNAL_ENDS);
}
static bool ends_by_handler(const struct blocker *b) { return b->is & HANDLER_ENDS; }

static void signalled(struct run *r, int flags) {
    catch_signal(r, flags, NULL);
    r->wait_ms = short_wait(r);
    plan(r, r->moment_ms, send_signal);
    plan_way_out(r, 120);
    go(r);
}
static void signal_interrupts(struct run *r) { signalled(r, 0); }
static void signal_restarts(struct run *r) { signalled(r, SA_RESTART); }

static volatile sig_atomic_t others_handled;
static void on_other(int signal) {
    (void)signal;
    others_handled++;
}
static void send_both(struct run *r) {
    send_signal(r);
    pthread_kill(r->sleeper, SIGWINCH);
}
static void two_signals(struct run *r) {
    struct sigaction action = {.sa_handler = on_other};
    sigaction(SIGWINCH, &action, NULL);
    catch_signal(r, 0, NULL);
    r->wait_ms = short_wait(r);
    plan(r, r->moment_ms, send_both);
    plan_way_out(r, 120);
    go(r);
    note(r, "handled of the other signal", others_handled);
}

/* The thread blocks it, so the call must not see it, and afterwards it is pending. */
static void blocked_signal(struct run *r) {
    sigset_t set = set_of(SIGUSR1);
    catch_signal(r, 0, NULL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    r->wait_ms = short_wait(r);
    plan(r, r->moment_ms, send_signal);
    plan_way_out(r, 80);
    go(r);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    note(r, "handled when it may be", handled);
}

static void masked(struct run *r, int thread_blocks, int call_blocks, bool is_pending) {
    sigset_t of_thread = set_of(thread_blocks), of_call = set_of(call_blocks);
    catch_signal(r, 0, NULL);
    pthread_sigmask(SIG_SETMASK, &of_thread, NULL);
    r->sleeper = pthread_self();
    if (is_pending) send_signal(r);
    r->mask = &of_call;
    r->wait_ms = short_wait(r);
    r->forgives_early_step = is_pending;
    plan(r, is_pending ? 120 : r->moment_ms, is_pending ? nothing : send_signal);
    plan_way_out(r, 120);
    go(r);
}
static void call_blocks_signal(struct run *r) { masked(r, 0, SIGUSR1, false); }
static void call_unblocks_signal(struct run *r) { masked(r, SIGUSR1, 0, false); }
static void call_unblocks_pending(struct run *r) { masked(r, SIGUSR1, SIGHUP, true); }

static void call_handler_end(void);
static struct run *handler_run;
static void call_handler_end(void) { handler_run->blocker->end(handler_run); }
/* The handler itself makes the call's event happen: the self-pipe trick. */
static void handler_makes_event(struct run *r) {
    handler_run = r;
    catch_signal(r, 0, call_handler_end);
    r->wait_ms = long_wait(r);
    plan(r, r->moment_ms, send_signal);
    go(r);
}
static void handler_makes_event_restart(struct run *r) {
    handler_run = r;
    catch_signal(r, SA_RESTART, call_handler_end);
    r->wait_ms = long_wait(r);
    plan(r, r->moment_ms, send_signal);
    go(r);
}

/* The handler waits as well, by the same functions. */
static void call_handler_wait(void) {
    static int depth;
    if (depth++ == 0)
        note(handler_run, "wait in the handler", handler_run->calls->poll(NULL, 0, 20));
    depth--;
}
static void handler_waits(struct run *r) {
    handler_run = r;
    catch_signal(r, 0, call_handler_wait);
    r->wait_ms = short_wait(r);
    r->ignores_left = true; /* it was reckoned before the handler */
    if (r->wait_ms == 300) r->wait_ms = 600;
    plan(r, r->moment_ms, send_signal);
    plan_way_out(r, 200);
    go(r);
}

/* ---- beside a thread that allocates ---- */

static void event_beside(struct run *r) {
    neighbour_start();
    event(r);
    neighbour_stop();
    churn(NULL);
}

/* A handler that interrupts one of these calls may allocate. */
static void call_churn(void) {
    if (is_in_call) churn(NULL);
}
static void handler_allocates(struct run *r) {
    catch_signal(r, 0, call_churn);
    r->wait_ms = short_wait(r);
    r->ignores_left = true;
    plan(r, r->moment_ms, send_signal);
    plan_way_out(r, 200);
    neighbour_start();
    go(r);
    neighbour_stop();
    churn(NULL);
}
static bool may_be_left(const struct blocker *b) { return b->is & JUMPABLE; }

/* ---- stopped and continued, by a child ---- */

static void stop_us(struct run *r) { (void)kill(r->child, SIGUSR2); }
/* Not epoll: whether its wait ends by that depends on who runs first. */
static bool can_be_stopped(const struct blocker *b) {
    return strncmp(b->call, "wait", 4) && strncmp(b->call, "epoll", 5) && !(b->is & SIGNAL_ENDS);
}
static void stopped(struct run *r) {
    sigset_t stop = set_of(SIGUSR2), before;
    pthread_sigmask(SIG_BLOCK, &stop, &before);
    pid_t parent = getpid(), child = fork();
    if (child < 0) abort();
    if (!child) {
        int got;
        sigwait(&stop, &got);
        kill(parent, SIGSTOP);
        rest_ms(60);
        kill(parent, SIGCONT);
        _exit(0);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    r->child = child;
    r->ignores_left = true; /* nanosleep writes it also when it is started again */
    r->wait_ms = short_wait(r) == 300 ? 500 : short_wait(r);
    plan(r, r->moment_ms, stop_us);
    plan_way_out(r, 150); /* that makes waits longer which the kernel starts again */
    go(r);
    kill(child, SIGKILL);
    libc.waitpid(child, NULL, 0);
}

const struct family families[] = {
    {"time-out of nothing", is_timed, times_out_now, false, 0, 0},
    {"time-out of 30 ms", can_wait_ms, times_out_soon, false, 0, 0},
    {"time-out", is_timed, times_out, false, 0, 0},
    {"event before it", has_early_event, is_ready, false, 0, 0},
    {"event", has_event, event_and_memory, true, 0, 0},
    {"event in time", has_both, event_in_time, true, 0, 0},
    {"signal", any, signal_interrupts, true, 0, 0},
    {"signal with SA_RESTART", any, signal_restarts, true, 0, 0},
    {"two signals", any, two_signals, true, 0, 0},
    {"signal that the thread blocks", any, blocked_signal, true, 0, 0},
    {"signal that the call blocks", takes_mask_and_time, call_blocks_signal, true, 0, 0},
    {"signal that the call unblocks", takes_mask, call_unblocks_signal, true, 0, 0},
    {"pending signal that the call unblocks", takes_mask, call_unblocks_pending, false, 0, 0},
    {"event made by a handler", ends_by_handler, handler_makes_event, true, 0, 0},
    {"event made by a handler with SA_RESTART", ends_by_handler, handler_makes_event_restart, false,
     0, 0},
    {"handler that waits itself", any, handler_waits, true, 0, 0},
    {"event beside a thread that allocates", has_event, event_beside, false, 0, 0},
    {"handler that allocates beside such a thread", may_be_left, handler_allocates, false, 0, 0},
    {"stopped and continued", can_be_stopped, stopped, true, 0, 0},
    {0},
};
