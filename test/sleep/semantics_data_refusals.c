/* Arguments that reads refuse, and their corners. fd[0] is a stream with nothing to read, fd[1] its
 * other end; fd[2] one with six bytes, fd[3] its other end. */
#define _GNU_SOURCE
#include "semantics.h"

#include <sys/un.h>

#define BAD (bad_address)
#define CASE(name, expression)        \
    static void name(struct run *r) { \
        open_streams(r);              \
        call_begins(r);               \
        long result = (expression);   \
        call_ended(r, result);        \
    }
#define CALL_OF(name) (r->calls->name)

static char data[16];

static void open_streams(struct run *r) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, r->fd) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, r->fd + 2))
        abort();
    if (write(r->fd[3], "sixsix", 6) != 6) abort();
}
static int not_blocking(int fd) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}
static int at_end(const struct run *r) {
    close(r->fd[1]);
    return r->fd[0];
}
static int impatient(int fd) {
    struct timeval t = {0, 150000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    return fd;
}
static struct iovec *parts(void *at) {
    static struct iovec part[2];
    part[0] = (struct iovec){data, 3};
    part[1] = (struct iovec){at, 8};
    return part;
}
static int listener(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&name, sizeof name.sun_family) || listen(fd, 5)) abort();
    return fd;
}

CASE(read_closed, CALL_OF(read)(999, data, 4))
CASE(read_bad, CALL_OF(read)(r->fd[2], BAD, 4))
CASE(read_nothing, CALL_OF(read)(r->fd[0], data, 0))
CASE(read_negative, CALL_OF(read)(r->fd[2], data, (size_t)minus_one))
CASE(read_part, CALL_OF(read)(r->fd[2], data, 4))
CASE(read_end, CALL_OF(read)(at_end(r), data, 4))
CASE(read_would_block, CALL_OF(read)(not_blocking(r->fd[0]), data, 4))
CASE(read_impatient, CALL_OF(read)(impatient(r->fd[0]), data, 4))
CASE(read_directory, CALL_OF(read)(open("/", O_RDONLY), data, 4))
CASE(readv_closed, CALL_OF(readv)(999, parts(data), 2))
CASE(readv_negative, CALL_OF(readv)(r->fd[2], parts(data), minus_one))
CASE(readv_bad, CALL_OF(readv)(r->fd[2], BAD, 2))
CASE(readv_bad_part, CALL_OF(readv)(r->fd[2], parts(BAD), 2))
CASE(readv_none, CALL_OF(readv)(r->fd[2], parts(data), 0))
CASE(recv_closed, CALL_OF(recv)(999, data, 4, 0))
CASE(recv_file, CALL_OF(recv)(open("/dev/null", O_RDONLY), data, 4, 0))
CASE(recv_bad, CALL_OF(recv)(r->fd[2], BAD, 4, 0))
CASE(recv_would_block, CALL_OF(recv)(r->fd[0], data, 4, MSG_DONTWAIT))
CASE(recv_impatient, CALL_OF(recv)(impatient(r->fd[0]), data, 4, 0))
CASE(recv_all, CALL_OF(recv)(impatient(r->fd[2]), data, 8, MSG_WAITALL))
CASE(recv_end, CALL_OF(recv)(at_end(r), data, 4, 0))
CASE(recvmsg_bad, CALL_OF(recvmsg)(r->fd[2], BAD, 0))
CASE(recvmsg_closed, CALL_OF(recvmsg)(999, &(struct msghdr){0}, 0))
CASE(accept_closed, CALL_OF(accept)(999, NULL, NULL))
CASE(accept_stream, CALL_OF(accept)(r->fd[0], NULL, NULL))
CASE(accept_file, CALL_OF(accept)(open("/dev/null", O_RDONLY), NULL, NULL))
CASE(accept_would_block, CALL_OF(accept)(not_blocking(listener()), NULL, NULL))
CASE(accept_impatient, CALL_OF(accept)(impatient(listener()), NULL, NULL))
CASE(accept4_flags, CALL_OF(accept4)(listener(), NULL, NULL, 1))

static void recvfrom_negative(struct run *r) {
    struct sockaddr_un from;
    socklen_t n = (socklen_t)-1;
    open_streams(r);
    call_begins(r);
    call_ended(r, r->calls->recvfrom(r->fd[2], data, 4, 0, (struct sockaddr *)&from, &n));
    note(r, "length of the address", n);
}

/* A datagram whose sender has a name, and is longer than the buffer. */
static void recvfrom_datagram(struct run *r) {
    struct sockaddr_un name = {.sun_family = AF_UNIX}, from;
    socklen_t n = sizeof name, from_n = sizeof from;
    int to = socket(AF_UNIX, SOCK_DGRAM, 0), sender = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (bind(to, (struct sockaddr *)&name, sizeof name.sun_family)) abort();
    if (bind(sender, (struct sockaddr *)&name, sizeof name.sun_family)) abort();
    getsockname(to, (struct sockaddr *)&name, &n);
    if (sendto(sender, "sixsix", 6, 0, (struct sockaddr *)&name, n) != 6) abort();
    call_begins(r);
    call_ended(r, r->calls->recvfrom(to, data, 4, MSG_TRUNC, (struct sockaddr *)&from, &from_n));
    note(r, "length of the address", from_n);
    note(r, "family", from.sun_family);
}

/* Fortified calls that would overrun: the process must end, as under libc. */
static void overrun(struct run *r, int which) {
    open_streams(r);
    pid_t child = fork();
    if (!child) {
        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        if (which == 0) _exit(r->calls->__read_chk(r->fd[2], data, 6, 4) > 0);
        if (which == 1) _exit(r->calls->__recv_chk(r->fd[2], data, 6, 4, 0) > 0);
        _exit(r->calls->__recvfrom_chk(r->fd[2], data, 6, 4, 0, NULL, NULL) > 0);
    }
    int status = -1;
    libc.waitpid(child, &status, 0);
    note(r, "ended by", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}
static void read_overrun(struct run *r) { overrun(r, 0); }
static void recv_overrun(struct run *r) { overrun(r, 1); }
static void recvfrom_overrun(struct run *r) { overrun(r, 2); }

const struct special data_specials[] = {
    {"read", "closed descriptor", read_closed},
    {"read", "bad address", read_bad},
    {"read", "no bytes", read_nothing},
    {"read", "more bytes than there can be", read_negative},
    {"read", "less than there is", read_part},
    {"read", "the end", read_end},
    {"read", "would block", read_would_block},
    {"read", "times out", read_impatient},
    {"read", "directory", read_directory},
    {"__read_chk", "would overrun", read_overrun},
    {"readv", "closed descriptor", readv_closed},
    {"readv", "negative number", readv_negative},
    {"readv", "parts at a bad address", readv_bad},
    {"readv", "a part at a bad address", readv_bad_part},
    {"readv", "no parts", readv_none},
    {"recv", "closed descriptor", recv_closed},
    {"recv", "not a socket", recv_file},
    {"recv", "bad address", recv_bad},
    {"recv", "would block", recv_would_block},
    {"recv", "times out", recv_impatient},
    {"recv", "times out with a part", recv_all},
    {"recv", "the end", recv_end},
    {"__recv_chk", "would overrun", recv_overrun},
    {"recvfrom", "negative length of the address", recvfrom_negative},
    {"recvfrom", "datagram that is cut off", recvfrom_datagram},
    {"__recvfrom_chk", "would overrun", recvfrom_overrun},
    {"recvmsg", "message at a bad address", recvmsg_bad},
    {"recvmsg", "closed descriptor", recvmsg_closed},
    {"accept", "closed descriptor", accept_closed},
    {"accept", "not a listener", accept_stream},
    {"accept", "not a socket", accept_file},
    {"accept", "would block", accept_would_block},
    {"accept", "times out", accept_impatient},
    {"accept4", "unknown flags", accept4_flags},
    {0},
};
