/* Blockers that wait for time and signals alone. */
#define _GNU_SOURCE
#include "semantics.h"

static const int64_t MS = 1000000;

static struct timespec timespec_of(int ms) { return (struct timespec){ms / 1000, ms % 1000 * MS}; }

static void note_left(struct run *r, bool is_interrupted, const struct timespec *left) {
    if (r->ignores_left) return;
    bool is_written = left->tv_nsec != CANARY || left->tv_sec != CANARY;
    note(r, "time left was written", is_written);
    if (is_interrupted && is_written) check_left(r, left->tv_sec * 1000 * MS + left->tv_nsec);
}

static void block_nanosleep(struct run *r) {
    struct timespec request = timespec_of(r->wait_ms), left = {CANARY, CANARY};
    call_begins(r);
    int result = r->calls->nanosleep(&request, &left);
    call_ended(r, result);
    note_left(r, result != 0, &left);
}

/* The time left may be written over the request. */
static void block_nanosleep_over(struct run *r) {
    struct timespec request = timespec_of(r->wait_ms);
    call_begins(r);
    int result = r->calls->nanosleep(&request, &request);
    call_ended(r, result);
    if (result)
        check_left(r, request.tv_sec * 1000 * MS + request.tv_nsec);
    else if (!r->ignores_left)
        note(r, "request is kept", request.tv_nsec == timespec_of(r->wait_ms).tv_nsec);
}

static void block_nanosleep_null(struct run *r) {
    struct timespec request = timespec_of(r->wait_ms);
    call_begins(r);
    call_ended(r, r->calls->nanosleep(&request, NULL));
}

static void clock_sleep(struct run *r, clockid_t clock, int flags) {
    struct timespec left = {CANARY, CANARY}, request = timespec_of(r->wait_ms);
    /* A millisecond more, since one clock may be a little faster than the other. */
    if (flags) request = timespec_in(clock, r->wait_ms ? r->wait_ms + 1 : 0);
    call_begins(r);
    int result = r->calls->clock_nanosleep(clock, flags, &request, &left);
    call_ended(r, result);
    note_left(r, result != 0, &left);
}
static void block_monotonic(struct run *r) { clock_sleep(r, CLOCK_MONOTONIC, 0); }
static void block_realtime(struct run *r) { clock_sleep(r, CLOCK_REALTIME, 0); }
static void block_boottime(struct run *r) { clock_sleep(r, CLOCK_BOOTTIME, 0); }
static void block_until(struct run *r) { clock_sleep(r, CLOCK_MONOTONIC, TIMER_ABSTIME); }
static void block_until_realtime(struct run *r) { clock_sleep(r, CLOCK_REALTIME, TIMER_ABSTIME); }

static void block_sleep(struct run *r) {
    call_begins(r);
    call_ended(r, r->calls->sleep((unsigned)r->wait_ms / 1000));
}

static void block_usleep(struct run *r) {
    call_begins(r);
    call_ended(r, r->calls->usleep((unsigned)r->wait_ms * 1000));
}

static void block_poll_of_nothing(struct run *r) {
    call_begins(r);
    call_ended(r, r->calls->poll(NULL, 0, r->wait_ms));
}
static void block_select_of_nothing(struct run *r) {
    struct timeval t = {r->wait_ms / 1000, r->wait_ms % 1000 * 1000};
    call_begins(r);
    int result = r->calls->select(0, NULL, NULL, NULL, r->wait_ms < 0 ? NULL : &t);
    call_ended(r, result);
    if (r->wait_ms >= 0) check_left(r, t.tv_sec * 1000 * MS + t.tv_usec * 1000);
}

/* ---- what only a signal ends: another one than the stories' ---- */

static void on_end(int signal) { (void)signal; }
static void open_signal(struct run *r) {
    struct sigaction action = {.sa_handler = on_end};
    (void)r;
    sigaction(SIGUSR2, &action, NULL);
}
static void end_by_signal(struct run *r) { pthread_kill(r->sleeper, SIGUSR2); }

static void block_pause(struct run *r) {
    call_begins(r);
    call_ended(r, r->calls->pause());
}

static void block_sigsuspend(struct run *r) {
    sigset_t none = set_of(0);
    call_begins(r);
    call_ended(r, r->calls->sigsuspend(r->mask ? r->mask : &none));
}

enum { SLEEPS = TIMED | SPLIT };
const struct blocker time_blockers[] = {
    {"nanosleep", "nanosleep", SLEEPS | JUMPABLE, NULL, block_nanosleep, NULL, NULL},
    {"nanosleep over its request", "nanosleep", SLEEPS, NULL, block_nanosleep_over, NULL, NULL},
    {"nanosleep without remainder", "nanosleep", SLEEPS, NULL, block_nanosleep_null, NULL, NULL},
    {"clock_nanosleep", "clock_nanosleep", SLEEPS | JUMPABLE, NULL, block_monotonic, NULL, NULL},
    {"clock_nanosleep realtime", "clock_nanosleep", SLEEPS, NULL, block_realtime, NULL, NULL},
    {"clock_nanosleep boottime", "clock_nanosleep", SLEEPS | ABSOLUTE, NULL, block_boottime, NULL,
     NULL},
    {"clock_nanosleep until", "clock_nanosleep", SLEEPS, NULL, block_until, NULL, NULL},
    {"clock_nanosleep until realtime", "clock_nanosleep", SLEEPS | ABSOLUTE, NULL,
     block_until_realtime, NULL, NULL},
    {"sleep", "sleep", TIMED | SECONDS | JUMPABLE, NULL, block_sleep, NULL, NULL},
    {"usleep", "usleep", TIMED, NULL, block_usleep, NULL, NULL},
    {"poll of nothing", "poll", SLEEPS | ENDLESS, NULL, block_poll_of_nothing, NULL, NULL},
    {"select of nothing", "select", SLEEPS | ENDLESS, NULL, block_select_of_nothing, NULL, NULL},
    {"pause", "pause", ENDLESS | SIGNAL_ENDS | JUMPABLE, open_signal, block_pause, end_by_signal,
     NULL},
    {"sigsuspend", "sigsuspend", ENDLESS | MASKED | SIGNAL_ENDS | JUMPABLE, open_signal,
     block_sigsuspend, end_by_signal, NULL},
    {0},
};
