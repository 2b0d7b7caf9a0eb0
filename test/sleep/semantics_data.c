/* Blockers that read from one descriptor, and those that wait for children. */
#define _GNU_SOURCE
#include "semantics.h"

#include <sys/un.h>

/* ---- reads: fd[0] is read from, fd[1] written to ---- */

static void open_pipe(struct run *r) {
    if (pipe(r->fd)) abort();
}
static void open_stream(struct run *r) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, r->fd)) abort();
}
static void end_by_write(struct run *r) {
    if (write(r->fd[1], "lowtide", 7) != 7) abort();
}
static void close_both(struct run *r) {
    close(r->fd[0]);
    close(r->fd[1]);
}

static void data_ended(struct run *r, long result, const char *data) {
    call_ended(r, result);
    note(r, "first byte", data[0]);
    note(r, "byte behind the last", data[7]);
}

static void block_read(struct run *r) {
    char data[16] = "................";
    call_begins(r);
    data_ended(r, r->calls->read(r->fd[0], data, sizeof data), data);
}
static void block_read_chk(struct run *r) {
    char data[16] = "................";
    call_begins(r);
    data_ended(r, r->calls->__read_chk(r->fd[0], data, 10, sizeof data), data);
}
static void block_readv(struct run *r) {
    char data[16] = "................", more[16] = "................";
    struct iovec to[2] = {{data, 3}, {more, sizeof more}};
    call_begins(r);
    data_ended(r, r->calls->readv(r->fd[0], to, 2), data);
    note(r, "first byte of the second part", more[0]);
}
static void block_recv(struct run *r) {
    char data[16] = "................";
    call_begins(r);
    data_ended(r, r->calls->recv(r->fd[0], data, sizeof data, MSG_PEEK), data);
}
static void block_recv_chk(struct run *r) {
    char data[16] = "................";
    call_begins(r);
    data_ended(r, r->calls->__recv_chk(r->fd[0], data, 10, sizeof data, 0), data);
}

static void block_recvfrom(struct run *r) {
    char data[16] = "................";
    struct sockaddr_un from;
    socklen_t n = sizeof from;
    call_begins(r);
    data_ended(r, r->calls->recvfrom(r->fd[0], data, sizeof data, 0, (struct sockaddr *)&from, &n),
               data);
    note(r, "length of the address", n);
}
static void block_recvfrom_chk(struct run *r) {
    char data[16] = "................";
    socklen_t n = CANARY;
    call_begins(r);
    data_ended(r, r->calls->__recvfrom_chk(r->fd[0], data, 10, sizeof data, 0, NULL, NULL), data);
    note(r, "length of the address", n);
}
static void block_recvmsg(struct run *r) {
    char data[16] = "................";
    struct iovec to = {data, sizeof data};
    struct msghdr message = {.msg_iov = &to, .msg_iovlen = 1, .msg_flags = CANARY};
    call_begins(r);
    data_ended(r, r->calls->recvmsg(r->fd[0], &message, 0), data);
    note(r, "flags of the message", message.msg_flags);
}

/* ---- accept: fd[0] listens, fd[1] is connected to it ---- */

static void open_listener(struct run *r) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    r->fd[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    r->fd[1] = socket(AF_UNIX, SOCK_STREAM, 0);
    /* Without a path: the kernel finds an unused name. */
    if (bind(r->fd[0], (struct sockaddr *)&name, sizeof name.sun_family) || listen(r->fd[0], 5))
        abort();
}
static void end_by_connect(struct run *r) {
    struct sockaddr_un name;
    socklen_t n = sizeof name;
    getsockname(r->fd[0], (struct sockaddr *)&name, &n);
    if (connect(r->fd[1], (struct sockaddr *)&name, n)) abort();
}
static void accepted(struct run *r, int fd, socklen_t n) {
    call_ended(r, fd < 0 ? fd : 0);
    note(r, "length of the address", n);
    if (fd < 0) return;
    note(r, "flags of the descriptor", fcntl(fd, F_GETFD));
    close(fd);
}
static void block_accept(struct run *r) {
    struct sockaddr_un from;
    socklen_t n = sizeof from;
    call_begins(r);
    accepted(r, r->calls->accept(r->fd[0], (struct sockaddr *)&from, &n), n);
}
static void block_accept4(struct run *r) {
    struct sockaddr_un from;
    socklen_t n = sizeof from;
    call_begins(r);
    accepted(r, r->calls->accept4(r->fd[0], (struct sockaddr *)&from, &n, SOCK_CLOEXEC), n);
}

enum { READS = ENDLESS | JUMPABLE | HANDLER_ENDS };
const struct blocker data_blockers[] = {
    {"read", "read", READS, open_pipe, block_read, end_by_write, close_both},
    {"__read_chk", "__read_chk", READS, open_pipe, block_read_chk, end_by_write, close_both},
    {"readv", "readv", READS, open_pipe, block_readv, end_by_write, close_both},
    {"recv", "recv", READS, open_stream, block_recv, end_by_write, close_both},
    {"__recv_chk", "__recv_chk", READS, open_stream, block_recv_chk, end_by_write, close_both},
    {"recvfrom", "recvfrom", READS, open_stream, block_recvfrom, end_by_write, close_both},
    {"__recvfrom_chk", "__recvfrom_chk", READS, open_stream, block_recvfrom_chk, end_by_write,
     close_both},
    {"recvmsg", "recvmsg", READS, open_stream, block_recvmsg, end_by_write, close_both},
    {"accept", "accept", READS, open_listener, block_accept, end_by_connect, close_both},
    {"accept4", "accept4", READS, open_listener, block_accept4, end_by_connect, close_both},
    {0},
};

/* ---- children: a child that reads from the pipe, then exits with 7 ---- */

static void open_child(struct run *r) {
    if (pipe(r->fd)) abort();
    pid_t child = fork(); /* `r` is shared with it, so it must not write there */
    if (child < 0) abort();
    if (child) {
        r->child = child;
        return;
    }
    char byte;
    close(r->fd[1]); /* a parent that is gone ends it, too */
    libc.read(r->fd[0], &byte, 1);
    _exit(7);
}
static void end_child(struct run *r) {
    if (write(r->fd[1], "x", 1) != 1) abort();
}
static void close_child(struct run *r) {
    close_both(r);
    libc.waitpid(r->child, NULL, 0);
}

static void child_ended(struct run *r, pid_t result, int status) {
    call_ended(r, result == r->child ? 1 : result);
    note(r, "status", status);
}
static void block_wait(struct run *r) {
    int status = CANARY;
    call_begins(r);
    child_ended(r, r->calls->wait(&status), status);
}
static void block_waitpid(struct run *r) {
    int status = CANARY;
    call_begins(r);
    child_ended(r, r->calls->waitpid(r->child, &status, 0), status);
}
static void block_wait3(struct run *r) {
    int status = CANARY;
    struct rusage usage = {.ru_minflt = -CANARY};
    call_begins(r);
    child_ended(r, r->calls->wait3(&status, 0, &usage), status);
    note(r, "usage was written", usage.ru_minflt != -CANARY);
}
static void block_wait4(struct run *r) {
    int status = CANARY;
    struct rusage usage = {.ru_minflt = -CANARY};
    call_begins(r);
    child_ended(r, r->calls->wait4(r->child, &status, 0, &usage), status);
    note(r, "usage was written", usage.ru_minflt != -CANARY);
}
static void block_waitid(struct run *r) {
    siginfo_t info = {.si_code = CANARY};
    call_begins(r);
    child_ended(r, r->calls->waitid(P_PID, (id_t)r->child, &info, WEXITED), info.si_status);
    note(r, "code", info.si_code);
    note(r, "pid", info.si_pid == r->child);
    note(r, "signal", info.si_signo);
}

enum { CHILDREN = ENDLESS | JUMPABLE };
const struct blocker child_blockers[] = {
    {"wait", "wait", CHILDREN, open_child, block_wait, end_child, close_child},
    {"waitpid", "waitpid", CHILDREN, open_child, block_waitpid, end_child, close_child},
    {"wait3", "wait3", CHILDREN, open_child, block_wait3, end_child, close_child},
    {"wait4", "wait4", CHILDREN, open_child, block_wait4, end_child, close_child},
    {"waitid", "waitid", CHILDREN, open_child, block_waitid, end_child, close_child},
    {0},
};
