/* Blockers that wait until one of several descriptors is ready. fd[0] is a pipe's end to read from,
 * which becomes ready in the end; fd[2] one that never does. */
#define _GNU_SOURCE
#include "semantics.h"

static const int64_t MS = 1000000;

static void open_pipes(struct run *r) {
    if (pipe(r->fd) || pipe(r->fd + 2)) abort();
}
static void end_by_write(struct run *r) {
    if (write(r->fd[1], "x", 1) != 1) abort();
}
static void close_pipes(struct run *r) {
    for (int i = 0; i < 4; i++) close(r->fd[i]);
}

/* ---- poll ---- */

static void prepare_poll(const struct run *r, struct pollfd *fds) {
    fds[0] = (struct pollfd){r->fd[0], POLLIN, 0x5a};
    fds[1] = (struct pollfd){-1, POLLIN, 0x5a};
    fds[2] = (struct pollfd){r->fd[2], POLLIN | POLLPRI, 0x5a};
}
static void poll_ended(struct run *r, int result, const struct pollfd *fds) {
    call_ended(r, result);
    for (int i = 0; i < 3; i++) note(r, "revents", fds[i].revents);
}

static void block_poll(struct run *r) {
    struct pollfd fds[3];
    prepare_poll(r, fds);
    call_begins(r);
    poll_ended(r, r->calls->poll(fds, 3, r->wait_ms), fds);
}

static void block_poll_chk(struct run *r) {
    struct pollfd fds[3];
    prepare_poll(r, fds);
    call_begins(r);
    poll_ended(r, r->calls->__poll_chk(fds, 3, r->wait_ms, sizeof fds), fds);
}

static struct timespec *timeout_of(const struct run *r, struct timespec *t) {
    *t = (struct timespec){r->wait_ms / 1000, r->wait_ms % 1000 * MS};
    return r->wait_ms < 0 ? NULL : t;
}
static void note_kept(struct run *r, const struct timespec *t) {
    struct timespec before;
    if (timeout_of(r, &before)) note(r, "time-out is kept", before.tv_nsec == t->tv_nsec);
}

static void block_ppoll(struct run *r) {
    struct pollfd fds[3];
    struct timespec t;
    prepare_poll(r, fds);
    call_begins(r);
    poll_ended(r, r->calls->ppoll(fds, 3, timeout_of(r, &t), r->mask), fds);
    note_kept(r, &t);
}

static void block_ppoll_chk(struct run *r) {
    struct pollfd fds[3];
    struct timespec t;
    prepare_poll(r, fds);
    call_begins(r);
    poll_ended(r, r->calls->__ppoll_chk(fds, 3, timeout_of(r, &t), r->mask, sizeof fds), fds);
    note_kept(r, &t);
}

/* ---- select ---- */

enum { BEYOND = 1000 }; /* a bit that is set and belongs to no descriptor that is asked for */

struct sets {
    fd_set in, other;
};

static void prepare_select(const struct run *r, struct sets *s) {
    FD_ZERO(&s->in);
    FD_ZERO(&s->other);
    FD_SET(r->fd[0], &s->in);
    FD_SET(r->fd[2], &s->in);
    FD_SET(BEYOND, &s->in);
    FD_SET(r->fd[0], &s->other);
}
static void select_ended(struct run *r, int result, struct sets *s) {
    call_ended(r, result);
    note(r, "in: the pipe that ends it", FD_ISSET(r->fd[0], &s->in));
    note(r, "in: the other pipe", FD_ISSET(r->fd[2], &s->in));
    note(r, "in: a bit beyond", FD_ISSET(BEYOND, &s->in));
    note(r, "other: the pipe that ends it", FD_ISSET(r->fd[0], &s->other));
}
static int highest(const struct run *r) { return r->fd[3] + 1; }

static void block_select(struct run *r) {
    struct sets s;
    struct timeval t = {r->wait_ms / 1000, r->wait_ms % 1000 * 1000};
    prepare_select(r, &s);
    call_begins(r);
    select_ended(r, r->calls->select(highest(r), &s.in, NULL, &s.other, r->wait_ms < 0 ? NULL : &t),
                 &s);
    if (r->wait_ms >= 0) check_left(r, t.tv_sec * 1000 * MS + t.tv_usec * 1000);
}

static void block_pselect(struct run *r) {
    struct sets s;
    struct timespec t;
    prepare_select(r, &s);
    call_begins(r);
    select_ended(
        r, r->calls->pselect(highest(r), &s.in, NULL, &s.other, timeout_of(r, &t), r->mask), &s);
    note_kept(r, &t);
}

/* ---- epoll: fd[4] ---- */

static void add_epoll(struct run *r, int fd, uint32_t what) {
    struct epoll_event e = {.events = what, .data.u64 = 1000u + what};
    if (epoll_ctl(r->fd[4], EPOLL_CTL_ADD, fd, &e)) abort();
}
static void open_epoll(struct run *r) {
    open_pipes(r);
    r->fd[4] = epoll_create1(0);
    add_epoll(r, r->fd[0], EPOLLIN | EPOLLONESHOT);
    add_epoll(r, r->fd[2], EPOLLIN);
}
static void close_epoll(struct run *r) {
    close(r->fd[4]);
    close_pipes(r);
}

static void epoll_ended(struct run *r, int result, const struct epoll_event *events) {
    call_ended(r, result);
    note(r, "events", events[0].events);
    note(r, "data", (long)events[0].data.u64);
}

static void block_epoll_wait(struct run *r) {
    struct epoll_event events[4] = {{.events = 0x5a, .data.u64 = 0x5b}};
    call_begins(r);
    epoll_ended(r, r->calls->epoll_wait(r->fd[4], events, 4, r->wait_ms), events);
}

static void block_epoll_pwait(struct run *r) {
    struct epoll_event events[4] = {{.events = 0x5a, .data.u64 = 0x5b}};
    call_begins(r);
    epoll_ended(r, r->calls->epoll_pwait(r->fd[4], events, 4, r->wait_ms, r->mask), events);
}

enum { WAITS = TIMED | ENDLESS | SPLIT | JUMPABLE | HANDLER_ENDS };
const struct blocker fd_blockers[] = {
    {"poll", "poll", WAITS, open_pipes, block_poll, end_by_write, close_pipes},
    {"__poll_chk", "__poll_chk", WAITS, open_pipes, block_poll_chk, end_by_write, close_pipes},
    {"ppoll", "ppoll", WAITS | MASKED, open_pipes, block_ppoll, end_by_write, close_pipes},
    {"__ppoll_chk", "__ppoll_chk", WAITS | MASKED, open_pipes, block_ppoll_chk, end_by_write,
     close_pipes},
    {"select", "select", WAITS, open_pipes, block_select, end_by_write, close_pipes},
    {"pselect", "pselect", WAITS | MASKED, open_pipes, block_pselect, end_by_write, close_pipes},
    {"epoll_wait", "epoll_wait", WAITS, open_epoll, block_epoll_wait, end_by_write, close_epoll},
    {"epoll_pwait", "epoll_pwait", WAITS | MASKED, open_epoll, block_epoll_pwait, end_by_write,
     close_epoll},
    {0},
};
