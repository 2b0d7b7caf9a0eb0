/* What -D_FORTIFY_SOURCE makes of some calls; no header declares them. */
#ifndef LOWTIDE_TEST_FORTIFIED_H
#define LOWTIDE_TEST_FORTIFIED_H

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict to, size_t bytes, size_t room, int flags,
                       __SOCKADDR_ARG from, socklen_t *restrict n);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                size_t room);

#endif
