/* Arguments that waits for several descriptors refuse, and their corners. */
#define _GNU_SOURCE
#include "semantics.h"

#include <sys/mman.h>

#define BAD (bad_address)
#define CASE(name, expression)        \
    static void name(struct run *r) { \
        open_ready(r);                \
        call_begins(r);               \
        long result = (expression);   \
        call_ended(r, result);        \
    }
#define CALL_OF(name) (r->calls->name)
#define TIME(s, ns)   (&(struct timespec){(s), (ns)})
#define VALUE(s, us)  (&(struct timeval){(s), (us)})

/* fd[0] has something to read, fd[2] has not and never will; fd[4] is an epoll of fd[0], fd[5] one
 * of nothing. */
static void open_ready(struct run *r) {
    struct epoll_event e = {.events = EPOLLIN};
    if (pipe(r->fd) || pipe(r->fd + 2) || write(r->fd[1], "x", 1) != 1) abort();
    r->fd[4] = epoll_create1(0);
    r->fd[5] = epoll_create1(0);
    if (epoll_ctl(r->fd[4], EPOLL_CTL_ADD, r->fd[0], &e)) abort();
}

/* ---- poll, ppoll ---- */

CASE(poll_many, CALL_OF(poll)((struct pollfd *)r->fd, (nfds_t)-minus_one << 30, 200))
CASE(poll_bad, CALL_OF(poll)(BAD, 3, 200))
CASE(poll_closed, CALL_OF(poll)(&(struct pollfd){999, POLLIN, 0}, 1, 200))
CASE(poll_negative, CALL_OF(poll)(&(struct pollfd){r->fd[0], POLLIN, 0}, 1, -77))
CASE(ppoll_negative, CALL_OF(ppoll)(NULL, 0, TIME(0, -1), NULL))
CASE(ppoll_second, CALL_OF(ppoll)(NULL, 0, TIME(0, 1000000000), NULL))
CASE(ppoll_past, CALL_OF(ppoll)(NULL, 0, TIME(-1, 0), NULL))
CASE(ppoll_bad, CALL_OF(ppoll)(BAD, 3, TIME(0, 200000000), NULL))
CASE(ppoll_bad_mask, CALL_OF(ppoll)(NULL, 0, TIME(0, 200000000), BAD))

/* The other end is closed while the call waits. */
static void close_other_end(struct run *r) { close(r->fd[3]); }
static void poll_hangup(struct run *r) {
    open_ready(r);
    struct pollfd p = {r->fd[2], POLLIN, 0};
    plan(r, 130, close_other_end);
    helper_start(r);
    call_begins(r);
    call_ended(r, r->calls->poll(&p, 1, 1000));
    note(r, "revents", p.revents);
    helper_join(r);
}

/* Fortified calls that would overrun: the process must end, as under libc. */
static void overrun(struct run *r, bool is_ppoll) {
    struct pollfd p[2] = {{r->fd[0], POLLIN, 0}, {r->fd[0], POLLIN, 0}};
    pid_t child = fork();
    if (!child) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        if (is_ppoll)
            r->calls->__ppoll_chk(p, 2, TIME(0, 1000), NULL, sizeof *p);
        else
            r->calls->__poll_chk(p, 2, 1, sizeof *p);
        _exit(0);
    }
    int status = -1;
    libc.waitpid(child, &status, 0);
    note(r, "ended by", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}
static void poll_overrun(struct run *r) { overrun(r, false); }
static void ppoll_overrun(struct run *r) { overrun(r, true); }

/* ---- select, pselect ---- */

CASE(select_negative, CALL_OF(select)(-1, NULL, NULL, NULL, VALUE(0, 200000)))
CASE(select_past, CALL_OF(select)(0, NULL, NULL, NULL, VALUE(-1, 0)))
CASE(select_negative_time, CALL_OF(select)(0, NULL, NULL, NULL, VALUE(0, -1)))
CASE(select_bad, CALL_OF(select)(10, BAD, NULL, NULL, VALUE(0, 200000)))
CASE(pselect_negative, CALL_OF(pselect)(-1, NULL, NULL, NULL, TIME(0, 200000000), NULL))
CASE(pselect_second, CALL_OF(pselect)(0, NULL, NULL, NULL, TIME(0, 1000000000), NULL))
CASE(pselect_past, CALL_OF(pselect)(0, NULL, NULL, NULL, TIME(-1, 0), NULL))
CASE(pselect_bad, CALL_OF(pselect)(10, BAD, NULL, NULL, TIME(0, 200000000), NULL))
CASE(pselect_bad_mask, CALL_OF(pselect)(0, NULL, NULL, NULL, TIME(0, 200000000), BAD))

static void select_closed(struct run *r) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(900, &set);
    struct timeval t = {0, 200000};
    call_begins(r);
    call_ended(r, r->calls->select(901, &set, NULL, NULL, &t));
    note(r, "set", FD_ISSET(900, &set));
}

/* More than a second of microseconds, which Linux takes. */
static void select_second(struct run *r) {
    open_ready(r);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(r->fd[0], &set);
    struct timeval t = {0, 1500000};
    call_begins(r);
    call_ended(r, r->calls->select(r->fd[0] + 1, &set, NULL, NULL, &t));
    note(r, "seconds left", t.tv_sec);
}

/* The kernel reads and writes only the words of a set that n asks for, and programs have sets that
 * are smaller than an fd_set: here one word at the very end of what is mapped. */
static void small_set(struct run *r, bool is_pselect) {
    open_ready(r);
    long page = sysconf(_SC_PAGESIZE);
    char *two =
        mmap(NULL, (size_t)(2 * page), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (two == MAP_FAILED || mprotect(two + page, (size_t)page, PROT_NONE)) abort();
    long *word = (long *)(two + page) - 1;
    *word = 1l << r->fd[2];
    struct timeval t = {0, 200000};
    call_begins(r);
    if (is_pselect)
        call_ended(r, r->calls->pselect(r->fd[2] + 1, (fd_set *)word, NULL, NULL,
                                        TIME(0, 200000000), NULL));
    else
        call_ended(r, r->calls->select(r->fd[2] + 1, (fd_set *)word, NULL, NULL, &t));
    note(r, "set", *word);
}
static void select_small(struct run *r) { small_set(r, false); }
static void pselect_small(struct run *r) { small_set(r, true); }

/* What lies behind such a set belongs to somebody else, who may change it meanwhile. */
static struct {
    long set, neighbour;
    char room[2 * sizeof(fd_set)];
} beside;
static void change_neighbour(struct run *r) {
    (void)r;
    beside.neighbour = CANARY;
}
static void select_neighbour(struct run *r) {
    open_ready(r);
    beside.set = 1l << r->fd[2];
    struct timeval t = {0, 200000};
    plan(r, 40, change_neighbour);
    helper_start(r);
    call_begins(r);
    call_ended(r, r->calls->select(r->fd[2] + 1, (fd_set *)&beside.set, NULL, NULL, &t));
    helper_join(r);
    note(r, "what lies behind the set", beside.neighbour);
}

/* Sets larger than an fd_set, for more descriptors than it holds. */
static void select_large(struct run *r) {
    enum { MOST = 4 * FD_SETSIZE };
    long words[MOST / 8 / sizeof(long)] = {0};
    struct rlimit most = {MOST, MOST};
    open_ready(r);
    if (setrlimit(RLIMIT_NOFILE, &most) || dup2(r->fd[2], 2000) != 2000) {
        note(r, "not allowed", 1);
        return;
    }
    words[2000 / 64] = 1l << 2000 % 64;
    struct timeval t = {0, 200000};
    call_begins(r);
    call_ended(r, r->calls->select(2001, (fd_set *)words, NULL, NULL, &t));
    note(r, "set", words[2000 / 64]);
    note(r, "time left", t.tv_usec);
}

/* ---- epoll ---- */

static struct epoll_event room_for_events[4];
#define EPOLL_CASE(name, fd, events, n, ms) CASE(name, CALL_OF(epoll_wait)(fd, events, n, ms))
EPOLL_CASE(epoll_closed, 999, room_for_events, 4, 200)
EPOLL_CASE(epoll_none, r->fd[0], room_for_events, 4, 200)
EPOLL_CASE(epoll_no_room, r->fd[5], room_for_events, 0, 200)
EPOLL_CASE(epoll_negative_room, r->fd[5], room_for_events, minus_one, 200)
EPOLL_CASE(epoll_bad, r->fd[5], (struct epoll_event *)-4096l, 4, 200)
EPOLL_CASE(epoll_bad_and_ready, r->fd[4], BAD, 4, 200)
EPOLL_CASE(epoll_negative, r->fd[4], room_for_events, 4, -77)
CASE(epoll_pwait_closed, CALL_OF(epoll_pwait)(999, room_for_events, 4, 200, NULL))
CASE(epoll_pwait_no_room, CALL_OF(epoll_pwait)(r->fd[5], room_for_events, 0, 200, NULL))
CASE(epoll_pwait_bad_mask, CALL_OF(epoll_pwait)(r->fd[5], room_for_events, 4, 200, BAD))

const struct special fd_specials[] = {
    {"poll", "more descriptors than there can be", poll_many},
    {"poll", "descriptors at a bad address", poll_bad},
    {"poll", "closed descriptor", poll_closed},
    {"poll", "negative time-out", poll_negative},
    {"poll", "the other end is closed", poll_hangup},
    {"__poll_chk", "would overrun", poll_overrun},
    {"ppoll", "negative nanoseconds", ppoll_negative},
    {"ppoll", "a second of nanoseconds", ppoll_second},
    {"ppoll", "negative seconds", ppoll_past},
    {"ppoll", "descriptors at a bad address", ppoll_bad},
    {"ppoll", "mask at a bad address", ppoll_bad_mask},
    {"__ppoll_chk", "would overrun", ppoll_overrun},
    {"select", "negative number", select_negative},
    {"select", "negative seconds", select_past},
    {"select", "negative microseconds", select_negative_time},
    {"select", "set at a bad address", select_bad},
    {"select", "closed descriptor", select_closed},
    {"select", "more than a second of microseconds", select_second},
    {"select", "set of one word", select_small},
    {"select", "what lies behind a set of one word", select_neighbour},
    {"select", "set of 4,096 descriptors", select_large},
    {"pselect", "negative number", pselect_negative},
    {"pselect", "a second of nanoseconds", pselect_second},
    {"pselect", "negative seconds", pselect_past},
    {"pselect", "set at a bad address", pselect_bad},
    {"pselect", "mask at a bad address", pselect_bad_mask},
    {"pselect", "set of one word", pselect_small},
    {"epoll_wait", "closed descriptor", epoll_closed},
    {"epoll_wait", "not an epoll", epoll_none},
    {"epoll_wait", "no room", epoll_no_room},
    {"epoll_wait", "negative room", epoll_negative_room},
    {"epoll_wait", "events at a bad address", epoll_bad},
    {"epoll_wait", "events at a bad address, ready", epoll_bad_and_ready},
    {"epoll_wait", "negative time-out", epoll_negative},
    {"epoll_pwait", "closed descriptor", epoll_pwait_closed},
    {"epoll_pwait", "no room", epoll_pwait_no_room},
    {"epoll_pwait", "mask at a bad address", epoll_pwait_bad_mask},
    {0},
};
