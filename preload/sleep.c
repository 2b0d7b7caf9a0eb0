/* Return before sleeping: the blocking calls give back what is retained before they block.
 *
 * Each wrapper asks policy, then calls libc's function, so cancellation, errno, masks and results
 * are libc's own. What can be given back, and how often, is decided in trim-policy/policy.c; when
 * there is nothing to do the price is a few loads. The waits for time and descriptors, which can be
 * split when policy says "later", are in sleep_split.c.
 */
#include "sleep.h"

#include <dlfcn.h>
#include <string.h>

#define NAME(name) #name,
static const char *const names[] = {SLEEP_CALLS(NAME)};
#undef NAME
_Atomic(void *) sleep_libc_table[SLEEP_CALL_COUNT];

/* Conditions changed their layout in 2.3.2 on x86-64, and the old version is what dlsym finds first
 * there. */
void *sleep_find_libc(unsigned call) {
    void *function = strncmp(names[call], "pthread_cond_", 13)
                         ? NULL
                         : dlvsym(RTLD_NEXT, names[call], "GLIBC_2.3.2");
    if (!function) function = dlsym(RTLD_NEXT, names[call]);
    relaxed_store(&sleep_libc_table[call], function);
    return function;
}

void sleep_init(void) {
    for (unsigned call = 0; call < SLEEP_CALL_COUNT; call++) sleep_find_libc(call);
}

static inline void give_back(bool may_hurry) {
    int wait_ms;
    if (UNLIKELY(policy_has_sleep_work())) policy_before_sleep(may_hurry, &wait_ms);
}

#define WRAP(result, name, parameters, arguments, may_hurry) \
    EXPORT result name parameters {                          \
        give_back(may_hurry);                                \
        return ASLEEP(name, arguments);                      \
    }

/* Waits that cannot be split: a signal to a condition that came between the halves would be lost.
 */
WRAP(pid_t, wait, (int *status), (status), true)
WRAP(pid_t, waitpid, (pid_t pid, int *status, int flags), (pid, status, flags), true)
WRAP(pid_t, wait3, (int *status, int flags, struct rusage *usage), (status, flags, usage), true)
WRAP(pid_t, wait4, (pid_t pid, int *status, int flags, struct rusage *usage),
     (pid, status, flags, usage), true)
WRAP(int, waitid, (idtype_t type, id_t id, siginfo_t *info, int flags), (type, id, info, flags),
     true)
WRAP(int, sem_wait, (sem_t * s), (s), true)
WRAP(int, sem_timedwait, (sem_t * s, const struct timespec *until), (s, until), true)
WRAP(int, sem_clockwait, (sem_t * s, clockid_t clock, const struct timespec *until),
     (s, clock, until), true)
WRAP(int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), (c, m), true)
WRAP(int, pthread_cond_timedwait,
     (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *until), (c, m, until), true)
WRAP(int, pthread_cond_clockwait,
     (pthread_cond_t * c, pthread_mutex_t *m, clockid_t clock, const struct timespec *until),
     (c, m, clock, until), true)
WRAP(int, pthread_join, (pthread_t thread, void **result), (thread, result), true)
WRAP(int, pause, (void), (), true)
WRAP(int, sigsuspend, (const sigset_t *mask), (mask), true)
WRAP(unsigned, sleep, (unsigned seconds), (seconds), true)
WRAP(int, usleep, (useconds_t microseconds), (microseconds), true)

/* Reads, which often do not block: not more often than every 100 ms. */
WRAP(ssize_t, read, (int fd, void *to, size_t bytes), (fd, to, bytes), false)
WRAP(ssize_t, readv, (int fd, const struct iovec *to, int n), (fd, to, n), false)
WRAP(ssize_t, recv, (int fd, void *to, size_t bytes, int flags), (fd, to, bytes, flags), false)
WRAP(ssize_t, recvfrom,
     (int fd, void *restrict to, size_t bytes, int flags, __SOCKADDR_ARG from,
      socklen_t *restrict n),
     (fd, to, bytes, flags, from, n), false)
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), false)
WRAP(int, accept, (int fd, __SOCKADDR_ARG from, socklen_t *restrict n), (fd, from, n), false)
WRAP(int, accept4, (int fd, __SOCKADDR_ARG from, socklen_t *restrict n, int flags),
     (fd, from, n, flags), false)
WRAP(ssize_t, __read_chk, (int fd, void *to, size_t bytes, size_t room), (fd, to, bytes, room),
     false)
WRAP(ssize_t, __recv_chk, (int fd, void *to, size_t bytes, size_t room, int flags),
     (fd, to, bytes, room, flags), false)
WRAP(ssize_t, __recvfrom_chk,
     (int fd, void *restrict to, size_t bytes, size_t room, int flags, __SOCKADDR_ARG from,
      socklen_t *restrict n),
     (fd, to, bytes, room, flags, from, n), false)
