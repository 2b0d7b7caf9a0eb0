/* What sleep.c and sleep_split.c share: libc's functions, and the count of threads that sleep. */
#ifndef LOWTIDE_SLEEP_H
#define LOWTIDE_SLEEP_H

#include "preload.h"

#include "../core/core.h"
#include "../core/lend.h"
#include "../trim-policy/policy.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What -D_FORTIFY_SOURCE makes of some calls; no header declares them. */
ssize_t __read_chk(int fd, void *to, size_t bytes, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict to, size_t bytes, size_t room, int flags,
                       __SOCKADDR_ARG from, socklen_t *restrict n);
int __poll_chk(struct pollfd *fds, nfds_t n, int timeout_ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                size_t room);

/* Every call that is interposed here. */
#define SLEEP_CALLS(X)                                                                            \
    X(wait)                                                                                       \
    X(waitpid)                                                                                    \
    X(wait3)                                                                                      \
    X(wait4)                                                                                      \
    X(waitid)                                                                                     \
    X(sem_wait)                                                                                   \
    X(sem_timedwait)                                                                              \
    X(sem_clockwait)                                                                              \
    X(pthread_cond_wait) X(pthread_cond_timedwait) X(pthread_cond_clockwait) X(pthread_join)      \
        X(pause) X(sigsuspend) X(sleep) X(usleep) X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) \
            X(accept) X(accept4) X(__read_chk) X(__recv_chk) X(__recvfrom_chk) X(poll)            \
                X(__poll_chk) X(ppoll) X(__ppoll_chk) X(select) X(pselect) X(epoll_wait)          \
                    X(epoll_pwait) X(nanosleep) X(clock_nanosleep)

#define CALL(name) SLEEP_##name,
enum { SLEEP_CALLS(CALL) SLEEP_CALL_COUNT };
#undef CALL

/* libc's function of a name. The constructor finds all, so that a first call from a signal handler
 * or under a seccomp filter needs nothing; whoever calls earlier finds its own. */
#define LIBC(name) ((__typeof__(&name))sleep_libc(SLEEP_##name))
extern HIDDEN _Atomic(void *) sleep_libc_table[SLEEP_CALL_COUNT];
HIDDEN void *sleep_find_libc(unsigned call);
static inline void *sleep_libc(unsigned call) {
    void *function = relaxed_load(&sleep_libc_table[call]);
    return LIKELY(function != NULL) ? function : sleep_find_libc(call);
}

/* Finds them all. */
HIDDEN void sleep_init(void);

/* The thread counts as asleep, and lends the heap that it could not give back from just now. (One
 * that is cancelled meanwhile, or leaves with siglongjmp, counts as asleep until its next call.) */
static inline void sleep_begin(void) {
    relaxed_store(&heap_current->is_asleep, true);
    if (UNLIKELY(relaxed_load(&heap_current->is_dirty)) && !is_single_threaded() &&
        !heap_is_in_use())
        heap_lend();
}
static inline void sleep_end(void) {
    heap_take_back();
    relaxed_store(&heap_current->is_asleep, false);
}

/* Libc's function of that name, called asleep. */
#define ASLEEP(name, arguments)                                          \
    ({                                                                   \
        sleep_begin();                                                   \
        __typeof__(LIBC(name) arguments) answer_ = LIBC(name) arguments; \
        sleep_end();                                                     \
        answer_;                                                         \
    })

/* The same for a system call. */
#define ASLEEP_DIRECTLY(...)                     \
    ({                                           \
        sleep_begin();                           \
        int answer_ = (int)syscall(__VA_ARGS__); \
        sleep_end();                             \
        answer_;                                 \
    })

#endif
