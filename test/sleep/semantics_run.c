/* What a run does around the call: garbage and the two states, the helper thread with its plan,
 * signals, the judgement of time, and what must still work afterwards. */
#define _GNU_SOURCE
#include "semantics.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <sys/mman.h>

enum {
    SLACK_MS = 80,       /* how late a call may return; later than that is tried again */
    LATE_STEP_MS = 20,   /* how late the helper may be */
    SOFT_BYTES = 3 << 19 /* the soft target of a small heap is a MiB and a sixteenth */
};
static const int64_t MS = 1000000;

/* ---- time ---- */

int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

static struct timespec timespec_at(int64_t ns) {
    return (struct timespec){ns / (1000 * MS), ns % (1000 * MS)};
}

static void rest_until(int64_t ns) {
    struct timespec t = timespec_at(ns);
    while (libc.clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) continue;
}
void rest_ms(int64_t ms) { rest_until(now_ns() + ms * MS); }

static __thread int64_t deadline_set_ns; /* of the call that is to begin; 0: none */

struct timespec timespec_in(clockid_t clock, int64_t ms) {
    struct timespec t;
    deadline_set_ns = now_ns();
    clock_gettime(clock, &t);
    return timespec_at(t.tv_sec * 1000 * MS + t.tv_nsec + ms * MS);
}

void *volatile bad_address = (void *)8;
volatile long minus_one = -1;

/* ---- notes ---- */

void note(struct run *r, const char *what, long value) {
    if (r->notes < NOTES) r->note[r->notes++] = (struct note){what, value};
}

static void say(char *to, size_t room, const char *format, va_list arguments) {
    if (!*to) vsnprintf(to, room, format, arguments);
}
void complain(struct run *r, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(r->problem, sizeof r->problem, format, arguments);
    va_end(arguments);
}
static __attribute__((format(printf, 2, 3))) void doubt(struct run *r, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say(r->inconclusive, sizeof r->inconclusive, format, arguments);
    va_end(arguments);
}

/* ---- the states ---- */

long retained_bytes(void) { return (long)mallinfo2().keepcost; }

int64_t prepare(enum state state) {
    static int64_t last_ns;
    if (!last_ns) last_ns = now_ns(); /* when it starts the library reads a file, which counts */
    if (!is_preloaded || state == UNDER_LIBC) return now_ns();
    if (state == LATER) {
        last_ns = spend_tokens();
        if (last_ns) return last_ns;
        fprintf(stderr, "the library never says that it is too soon to give back\n");
        exit(1);
    }
    rest_until(last_ns + 120 * MS);
    make_garbage();
    return now_ns();
}

/* ---- the helper ---- */

/* A thread may take long to come to its call on a loaded or slow machine: what is planned is put
 * off until that lasts for a moment. That the helper itself was late is still told. */
static void await_call(struct run *r) {
    enum { BEGUN_MS = 3, TRIES = 400 };
    int64_t woke = now_ns();
    for (int i = 0; i < TRIES && !(r->began_ns && r->began_ns + BEGUN_MS * MS < now_ns()); i++)
        rest_ms(1);
    int64_t delay = now_ns() - woke;
    for (int i = r->hook_steps; i < r->steps; i++) r->step[i].at_ns += delay;
}

static void *help(void *run) {
    struct run *r = run;
    for (int i = r->hook_steps; i < r->steps; i++) {
        rest_until(r->step[i].at_ns);
        if (i == r->hook_steps && !r->forgives_early_step) await_call(r);
        r->step[i].done_ns = now_ns();
        r->step[i].act(r);
    }
    return NULL;
}

void plan(struct run *r, int64_t ms, action *act) {
    r->step[r->steps++] = (struct step){r->base_ns + ms * MS, 0, act};
}
void plan_after(struct run *r, int64_t ms, action *act) {
    r->step[r->steps] = (struct step){r->step[r->steps - 1].at_ns + ms * MS, 0, act};
    r->steps++;
}

/* All that has been planned is put off until the call may well have begun. */
void helper_start(struct run *r) {
    int64_t delay = now_ns() + 8 * MS - r->step[r->hook_steps].at_ns;
    for (int i = r->hook_steps; delay > 0 && i < r->steps; i++) r->step[i].at_ns += delay;
    if (r->steps > r->hook_steps && pthread_create(&r->helper, NULL, help, r)) abort();
}
void helper_join(struct run *r) {
    if (r->steps > r->hook_steps) libc.pthread_join(r->helper, NULL);
}

static struct run *hook_run;

static void take_step_in_give_back(void) {
    struct run *r = hook_run;
    if (!r) return;
    if (!pthread_equal(pthread_self(), r->sleeper)) {
        release_hook = take_step_in_give_back; /* somebody else's */
        return;
    }
    struct step *s = &r->step[0];
    s->at_ns = s->done_ns = now_ns();
    s->act(r);
}

void plan_in_give_back(struct run *r, action *act) {
    hook_run = r;
    r->step[r->steps++] = (struct step){now_ns(), 0, act};
    r->hook_steps = 1;
}

/* Not before the call begins, since garbage that is made gives back as well. */
static void set_hook(const struct run *r) {
    if (&release_hook) release_hook = hook_run == r ? take_step_in_give_back : NULL;
}
static void clear_hook(void) {
    hook_run = NULL;
    if (&release_hook) release_hook = NULL;
}

/* ---- around the call ---- */

/* But for libc's own two signals, one of which is blocked while a cancelled thread unwinds. */
long mask_now(void) {
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return (long)(mask.__val[0] & ~(3ul << 31));
}

volatile sig_atomic_t is_in_call;

/* What this thread has run, and waited for a processor; the rest of the time it slept. */
static int64_t awake_ns(void) {
    char text[80] = "";
    int64_t ran = 0, waited = 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/thread-self/schedstat", O_RDONLY);
    if (fd < 0 || syscall(SYS_read, fd, text, sizeof text - 1) <= 0 ||
        sscanf(text, "%" SCNd64 " %" SCNd64, &ran, &waited) != 2)
        ran = waited = 0;
    if (fd >= 0) syscall(SYS_close, fd);
    return ran + waited;
}

void call_begins(struct run *r) {
    r->mask_before = mask_now();
    set_hook(r);
    r->awake_ns = -awake_ns();
    r->began_ns = now_ns();
    if (deadline_set_ns && r->began_ns - deadline_set_ns > MS)
        doubt(r, "began long after its deadline was set");
    deadline_set_ns = 0;
    is_in_call = true;
    errno = CANARY;
}

void call_is_over(struct run *r) {
    r->ended_ns = now_ns();
    r->awake_ns += awake_ns();
}

void call_ended(struct run *r, long result) {
    int error = errno;
    is_in_call = false;
    call_is_over(r);
    note(r, "result", result);
    note(r, "errno", error);
    note(r, "signal mask unchanged", mask_now() == r->mask_before);
    sigset_t pending;
    sigpending(&pending);
    note(r, "SIGUSR1 pending", sigismember(&pending, SIGUSR1));
}

void check_left(struct run *r, int64_t left_ns) {
    if (r->ignores_left) return;
    int64_t slept = r->ended_ns - r->began_ns, error = r->wait_ms * MS - slept - left_ns;
    if (slept > r->wait_ms * MS) error = -left_ns;
    if (left_ns < 0 || left_ns > r->wait_ms * MS || error > 40 * MS || error < -40 * MS)
        complain(r, "slept %.1f ms of %d, and says that %.1f are left", (double)slept / 1e6,
                 r->wait_ms, (double)left_ns / 1e6);
}

/* Which of what could end the call (steps and the deadline) had happened when it ended? That must
 * be as under libc; and it must have ended soon after the last of them. */
void judge_time(struct run *r) {
    clear_hook();
    int64_t last = r->began_ns, deadline = r->began_ns + r->wait_ms * MS;
    bool has_deadline = r->blocker->is & TIMED && r->wait_ms >= 0;
    int happened = 0;
    for (int i = 0; i < r->steps; i++) {
        const struct step *s = &r->step[i];
        if (s->done_ns - s->at_ns > LATE_STEP_MS * MS) doubt(r, "step %d came too late", i);
        if (!r->forgives_early_step && s->done_ns < r->began_ns + 2 * MS)
            doubt(r, "step %d came too early", i);
        /* To cancel oneself may take long, the first time. */
        if (r->is_cancelled_before && s->done_ns && s->done_ns < r->began_ns + 20 * MS)
            doubt(r, "step %d came before the cancelled call could end", i);
        if (has_deadline && llabs(s->done_ns - deadline) < 10 * MS)
            doubt(r, "step %d came at the deadline", i);
        if (!s->done_ns || s->done_ns > r->ended_ns) continue;
        happened++;
        if (s->done_ns > last) last = s->done_ns;
    }
    if (has_deadline && deadline <= r->ended_ns) {
        happened++;
        if (deadline > last) last = deadline;
    }
    note(r, "what had happened by the end", happened);
    if (r->ended_ns - last > SLACK_MS * MS)
        doubt(r, "ended %.1f ms late", (double)(r->ended_ns - last) / 1e6);
}

/* The call was made for long enough: what is above the soft target must be gone. */
static void judge_memory(struct run *r) {
    int64_t due = r->state == READY ? r->began_ns : r->base_ns + 115 * MS;
    bool gives_back = r->state == READY ||
                      (r->state == LATER && r->blocker->is & SPLIT && !(r->blocker->is & ABSOLUTE));
    int64_t until = r->steps ? r->step[0].done_ns : r->ended_ns;
    if (!is_preloaded || !r->judges_memory || !gives_back || until < due) return;
    if (r->retained_bytes > SOFT_BYTES)
        complain(r, "%ld KiB retained after it", r->retained_bytes / 1024);
}

void go(struct run *r) {
    if (r->blocker->open) r->blocker->open(r);
    r->sleeper = pthread_self();
    helper_start(r);
    r->blocker->block(r);
    r->retained_bytes = retained_bytes();
    int count = handled;
    helper_join(r);
    note(r, "signals handled", count);
    judge_time(r);
    judge_memory(r);
    if (r->blocker->close) r->blocker->close(r);
}

/* ---- signals ---- */

volatile sig_atomic_t handled;
static struct run *signal_run;
static void (*signal_also)(void);

static void on_signal(int signal) {
    int saved = errno;
    (void)signal;
    handled++;
    note(signal_run, "mask in the handler", mask_now());
    if (signal_also) signal_also();
    errno = saved;
}

void catch_signal(struct run *r, int flags, void (*also)(void)) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    signal_run = r;
    signal_also = also;
    sigaction(SIGUSR1, &action, NULL);
}

void send_signal(struct run *r) { pthread_kill(r->sleeper, SIGUSR1); }

sigset_t set_of(int signal) {
    sigset_t set;
    sigemptyset(&set);
    if (signal) sigaddset(&set, signal);
    return set;
}

/* ---- afterwards ---- */

void *churn(void *unused) {
    enum { SLOTS = 600 };
    static __thread unsigned *slot[SLOTS];
    uint64_t random = 88172645463325252u;
    for (unsigned i = 0; i < 30 * SLOTS; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        unsigned k = random % SLOTS;
        if (slot[k] && *slot[k] != k) abort();
        free(slot[k]);
        slot[k] = malloc(16 + (random >> 20) % (i % 64 ? 2000 : 100000));
        if (!slot[k]) abort();
        *slot[k] = k;
    }
    for (unsigned k = 0; k < SLOTS; k++) free(slot[k]), slot[k] = NULL;
    return unused;
}

static pthread_t neighbour;
static _Atomic(bool) neighbour_ends;

static void *be_neighbour(void *unused) {
    while (!neighbour_ends) {
        churn(NULL);
        rest_ms(10);
    }
    return unused;
}
void neighbour_start(void) {
    neighbour_ends = false;
    if (pthread_create(&neighbour, NULL, be_neighbour, NULL)) abort();
}
void neighbour_stop(void) {
    neighbour_ends = true;
    libc.pthread_join(neighbour, NULL);
}

void aftermath(struct run *r) {
    pthread_t thread;
    churn(NULL);
    if (pthread_create(&thread, NULL, churn, NULL)) abort();
    libc.pthread_join(thread, NULL);
    int64_t began = now_ns();
    pid_t child = fork();
    if (!child) {
        churn(NULL);
        _exit(0);
    }
    int64_t forked_ms = (now_ns() - began) / MS;
    int status = -1;
    libc.waitpid(child, &status, 0);
    if (status) complain(r, "a child forked afterwards ends with status %d", status);
    if (forked_ms >= 240) complain(r, "fork takes %ld ms afterwards", (long)forked_ms);
    if (!is_preloaded) return;
    rest_ms(120);
    make_garbage();
    long before = retained_bytes();
    hooked.poll(NULL, 0, 1);
    long after = retained_bytes();
    if (after > SOFT_BYTES)
        complain(r, "nothing is given back any more: %ld KiB retained, then %ld", before / 1024,
                 after / 1024);
}
