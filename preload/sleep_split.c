/* Waits for time and descriptors. Where policy says that it is too soon to give back, such a wait
 * sleeps the rest of those 100 ms first, gives back, and sleeps on.
 *
 * The two halves must look like one call. All signals are blocked but for the halves themselves,
 * whose calls (ppoll, pselect, epoll_pwait) switch the mask atomically; a signal that comes in
 * between interrupts the second half. The time left is taken from the clock, so the whole ends when
 * it should.
 */
#include "sleep.h"

#include <limits.h>
#include <string.h>
#include <sys/syscall.h>

static const int64_t SECOND_NS = 1000000000, MS_NS = 1000000, FOR_EVER = INT64_MAX, WHOLE = -1;

/* Ages count as for ever; what libc would refuse is 0, so that it is not split but passed on. */
static int64_t nanoseconds(const struct timespec *t) {
    if (!t || t->tv_sec > INT_MAX) return FOR_EVER;
    bool is_valid = t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < SECOND_NS;
    return is_valid ? t->tv_sec * SECOND_NS + t->tv_nsec : 0;
}
static int64_t milliseconds(int ms) { return ms < 0 ? FOR_EVER : ms * MS_NS; }
static struct timespec *timespec_of(int64_t ns, struct timespec *t) {
    if (ns == FOR_EVER) return NULL;
    *t = (struct timespec){ns / SECOND_NS, ns % SECOND_NS};
    return t;
}
/* Rounded up, since a wait may be longer than asked for but not shorter. */
static int timeout_ms_of(int64_t ns) {
    return ns == FOR_EVER ? -1 : (int)((ns + MS_NS - 1) / MS_NS);
}

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Libc leaves addresses to the kernel, where a bad one is an error and no crash; so does this. The
 * kernel copies the eight bytes of a mask before it refuses what it shall do with it. */
static bool can_access(const void *to_read, void *to_write) {
    int saved = errno;
    int how = to_read ? -1 : SIG_BLOCK;
    bool can =
        !syscall(SYS_rt_sigprocmask, how, to_read, to_write, sizeof(uint64_t)) || errno != EFAULT;
    errno = saved;
    return can;
}

struct split {
    int64_t first_ns;    /* the first half */
    int64_t deadline_ns; /* of the whole, or FOR_EVER */
};

static int64_t split_left(const struct split *s) {
    if (s->deadline_ns == FOR_EVER) return FOR_EVER;
    int64_t left = s->deadline_ns - monotonic_ns();
    return left > 0 ? left : 0;
}

/* Between the halves. */
static int64_t split_middle(const struct split *s) {
    int wait_ms;
    policy_before_sleep(true, &wait_ms);
    return split_left(s);
}

/* One half: waits for `ns` (or FOR_EVER) under the mask; 0 = the time is over. By direct system
 * calls: nothing has to be registered that a handler which leaves with siglongjmp would leave
 * behind. */
typedef int half_call(void *call, int64_t ns, const uint64_t *mask);

/* All signals are blocked outside of the halves, also the one by which libc cancels a thread. As in
 * libc's own call cancellation is asynchronous meanwhile, so it ends a half, with the mask that the
 * call would have had. */
static NOINLINE int split_wait(struct split *s, int64_t total_ns, const sigset_t *mask,
                               half_call *half, void *call, bool can_be_ready) {
    uint64_t during;
    int kind;
    s->deadline_ns = total_ns == FOR_EVER ? FOR_EVER : monotonic_ns() + total_ns;
    /* What is ready needs no sleep: an event loop that never sleeps pays nothing more. */
    pthread_testcancel();
    int result = can_be_ready ? half(call, 0, (const uint64_t *)mask) : 0;
    if (result) return result;
    if (mask) memcpy(&during, mask, sizeof during);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &kind);
    uint64_t before = policy_change_mask(SIG_BLOCK, ~0ull);
    if (!mask) during = before;
    result = half(call, s->first_ns, &during);
    if (!result) result = half(call, split_middle(s), &during);
    policy_change_mask(SIG_SETMASK, before);
    pthread_setcanceltype(kind, NULL);
    return result;
}

/* Gives back if it is time. True if it is not yet, and the wait of `total_ns` (0: none; WHOLE: not
 * to be split) is longer than until then: it is to be made in two halves, with split_wait. */
static inline bool split_begin(struct split *s, int64_t total_ns) {
    int wait_ms = 0;
    s->first_ns = 0;
    if (LIKELY(!policy_has_sleep_work()) || !total_ns) return false;
    if (policy_before_sleep(true, &wait_ms) != SLEEP_LATER) return false;
    s->first_ns = wait_ms * MS_NS;
    return wait_ms > 0 && total_ns > s->first_ns;
}

/* ---- poll ---- */

struct poll_call {
    struct pollfd *fds;
    nfds_t n;
};

static int poll_half(void *call, int64_t ns, const uint64_t *mask) {
    const struct poll_call *c = call;
    struct timespec t;
    return ASLEEP_DIRECTLY(SYS_ppoll, c->fds, c->n, timespec_of(ns, &t), mask, sizeof *mask);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout_ms) {
    struct split s;
    int64_t ns = milliseconds(timeout_ms);
    if (!split_begin(&s, ns)) return ASLEEP(poll, (fds, n, timeout_ms));
    return split_wait(&s, ns, NULL, poll_half, &(struct poll_call){fds, n}, true);
}

EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room) {
    if (n > room / sizeof *fds) return LIBC(__poll_chk)(fds, n, timeout_ms, room);
    return poll(fds, n, timeout_ms);
}

EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                 const sigset_t *mask) {
    struct split s;
    int64_t ns = nanoseconds(timeout);
    if (!split_begin(&s, ns)) return ASLEEP(ppoll, (fds, n, timeout, mask));
    return split_wait(&s, ns, mask, poll_half, &(struct poll_call){fds, n}, true);
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                       const sigset_t *mask, size_t room) {
    if (n > room / sizeof *fds) return LIBC(__ppoll_chk)(fds, n, timeout, mask, room);
    return ppoll(fds, n, timeout, mask);
}

/* ---- select: a first half that times out has cleared the sets ---- */

struct select_call {
    int n;
    size_t words; /* of each set: a program need not have more of them than n asks for */
    uint64_t *sets[3], kept[3][FD_SETSIZE / 64];
};

static void copy_words(uint64_t *to, const uint64_t *from, size_t words) {
    if (to && from) memcpy(to, from, words * sizeof *to);
}

/* False: the kernel is to refuse a set. */
static bool select_prepare(struct select_call *c, int n, fd_set *in, fd_set *out, fd_set *other) {
    fd_set *sets[3] = {in, out, other};
    c->n = n;
    c->words = n > 0 ? ((size_t)n + 63) / 64 : 0;
    for (int i = 0; i < 3; i++) {
        c->sets[i] = (uint64_t *)sets[i];
        if (!sets[i] || !c->words) continue;
        if (!can_access(c->sets[i], NULL) || !can_access(c->sets[i] + c->words - 1, NULL))
            return false;
        copy_words(c->kept[i], c->sets[i], c->words);
    }
    return true;
}

static int select_half(void *call, int64_t ns, const uint64_t *mask) {
    struct select_call *c = call;
    struct timespec t;
    for (int i = 0; i < 3; i++) copy_words(c->sets[i], c->kept[i], c->words);
    struct {
        const uint64_t *mask;
        size_t bytes;
    } with_mask = {mask, sizeof *mask};
    return ASLEEP_DIRECTLY(SYS_pselect6, c->n, c->sets[0], c->sets[1], c->sets[2],
                           timespec_of(ns, &t), &with_mask);
}

/* More descriptors than an fd_set holds (some programs allocate larger ones): not split. */
static int64_t select_total_ns(int n, int64_t ns) { return n > FD_SETSIZE && ns ? WHOLE : ns; }

static int64_t timeval_ns(const struct timeval *t) {
    if (!t) return FOR_EVER;
    if (t->tv_sec < 0 || t->tv_sec > INT_MAX || t->tv_usec < 0 || t->tv_usec > INT_MAX)
        return t->tv_sec > INT_MAX ? FOR_EVER : 0;
    return t->tv_sec * SECOND_NS + t->tv_usec * 1000; /* microseconds may be a million or more */
}

EXPORT int select(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                  struct timeval *restrict timeout) {
    struct split s;
    int64_t ns = select_total_ns(n, timeval_ns(timeout));
    struct select_call call;
    if (!split_begin(&s, ns) || !select_prepare(&call, n, in, out, other))
        return ASLEEP(select, (n, in, out, other, timeout));
    int result = split_wait(&s, ns, NULL, select_half, &call, true);
    if (timeout) {
        int64_t left = split_left(&s); /* Linux says how much was not slept */
        *timeout = (struct timeval){left / SECOND_NS, left % SECOND_NS / 1000};
    }
    return result;
}

EXPORT int pselect(int n, fd_set *restrict in, fd_set *restrict out, fd_set *restrict other,
                   const struct timespec *restrict timeout, const sigset_t *restrict mask) {
    struct split s;
    int64_t ns = select_total_ns(n, nanoseconds(timeout));
    struct select_call call;
    if (!split_begin(&s, ns) || !select_prepare(&call, n, in, out, other))
        return ASLEEP(pselect, (n, in, out, other, timeout, mask));
    return split_wait(&s, ns, mask, select_half, &call, true);
}

/* ---- epoll ---- */

struct epoll_call {
    int fd;
    struct epoll_event *events;
    int n;
};

static int epoll_half(void *call, int64_t ns, const uint64_t *mask) {
    const struct epoll_call *c = call;
    return ASLEEP_DIRECTLY(SYS_epoll_pwait, c->fd, c->events, c->n, timeout_ms_of(ns), mask,
                           sizeof *mask);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int n, int timeout_ms) {
    struct split s;
    int64_t ns = milliseconds(timeout_ms);
    if (!split_begin(&s, ns)) return ASLEEP(epoll_wait, (fd, events, n, timeout_ms));
    return split_wait(&s, ns, NULL, epoll_half, &(struct epoll_call){fd, events, n}, true);
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int n, int timeout_ms,
                       const sigset_t *mask) {
    struct split s;
    int64_t ns = milliseconds(timeout_ms);
    if (!split_begin(&s, ns)) return ASLEEP(epoll_pwait, (fd, events, n, timeout_ms, mask));
    return split_wait(&s, ns, mask, epoll_half, &(struct epoll_call){fd, events, n}, true);
}

/* ---- sleeping: ppoll without descriptors, whose mask is switched atomically ---- */

/* Read only where the wait may be split. Where nothing else ends it there is no "for ever". */
static int64_t sleep_ns(const struct timespec *request) {
    if (!request || !can_access(request, NULL)) return 0;
    return request->tv_sec > INT_MAX ? WHOLE : nanoseconds(request);
}

static int split_sleep(struct split *s, int64_t ns, struct timespec *left) {
    int result = split_wait(s, ns, NULL, poll_half, &(struct poll_call){NULL, 0}, false);
    if (!result || !left) return result;
    if (can_access(NULL, left))
        timespec_of(split_left(s), left);
    else
        errno = EFAULT;
    return result;
}

EXPORT int nanosleep(const struct timespec *request, struct timespec *left) {
    struct split s;
    int64_t ns = split_begin(&s, FOR_EVER) ? sleep_ns(request) : 0;
    if (ns <= s.first_ns) return ASLEEP(nanosleep, (request, left));
    return split_sleep(&s, ns, left);
}

/* Only where the monotonic clock tells when the whole ends; other clocks can be set while we sleep.
 * Returns an error number. */
static int64_t clock_total_ns(clockid_t clock, int flags, const struct timespec *request) {
    int64_t ns = sleep_ns(request);
    if (ns <= 0) return ns;
    if (clock != CLOCK_MONOTONIC && (clock != CLOCK_REALTIME || flags)) return WHOLE;
    if (!flags) return ns;
    int64_t left = flags == TIMER_ABSTIME ? ns - monotonic_ns() : 0;
    return left > 0 ? left : 0;
}

EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request,
                           struct timespec *left) {
    struct split s;
    int64_t ns = split_begin(&s, FOR_EVER) ? clock_total_ns(clock, flags, request) : 0;
    if (ns <= s.first_ns) return ASLEEP(clock_nanosleep, (clock, flags, request, left));
    int saved = errno;
    int result = split_sleep(&s, ns, flags ? NULL : left) ? errno : 0;
    errno = saved;
    return result;
}
