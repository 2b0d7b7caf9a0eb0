/* Every interposed blocking call beside libc's own: what the parts of the program `semantics`
 * share.
 *
 * A *blocker* is one call with what it waits for; a *family* is a story that any blocker can be put
 * through (it times out, a signal arrives, the thread is cancelled). A *run* is one blocker in one
 * story, with libc's function or with the interposed one, in a process of its own; it leaves notes
 * (results, errno, output arguments, masks), which must be those of the run with libc's function.
 *
 * The interposed call is made in two states:
 *   READY   garbage is there and nothing was given back of late: the call gives back, then blocks
 *   LATER   garbage is there, but something was given back just now and no tokens are left: waits
 *           for time and descriptors are split about 100 ms after that last time, others are not
 */
#ifndef LOWTIDE_TEST_SEMANTICS_H
#define LOWTIDE_TEST_SEMANTICS_H

#include "fortified.h"
#include "spend.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Every interposed call; the driver compares this list with the library's. */
#define CALLS(X)                                                                                   \
    X(wait)                                                                                        \
    X(waitpid)                                                                                     \
    X(wait3)                                                                                       \
    X(wait4)                                                                                       \
    X(waitid) X(sem_wait) X(sem_timedwait) X(sem_clockwait) X(pthread_cond_wait)                   \
        X(pthread_cond_timedwait) X(pthread_cond_clockwait) X(pthread_join) X(pause) X(sigsuspend) \
            X(sleep) X(usleep) X(read) X(readv) X(recv) X(recvfrom) X(recvmsg) X(accept)           \
                X(accept4) X(__read_chk) X(__recv_chk) X(__recvfrom_chk) X(poll) X(__poll_chk)     \
                    X(ppoll) X(__ppoll_chk) X(select) X(pselect) X(epoll_wait) X(epoll_pwait)      \
                        X(nanosleep) X(clock_nanosleep)
#define FIELD(name) __typeof__(&name) name;
struct calls {
    CALLS(FIELD)
};
#undef FIELD

/* The preloaded symbols, and libc's own functions. The harness itself waits with libc's alone, so
 * that it never gives anything back. */
extern struct calls hooked, libc;
extern bool is_preloaded;

enum { NOTES = 40, STEPS = 3, FDS = 6, FOR_EVER = -1, CANARY = 4242 };
enum state { UNDER_LIBC, READY, LATER, STATES };

struct run;
typedef void action(struct run *r);

struct note {
    const char *what;
    long value;
};
struct step {
    int64_t at_ns, done_ns; /* done: taken just before the act */
    action *act;
};

struct run {
    const struct blocker *blocker;
    const struct calls *calls;
    enum state state;
    int moment_ms;        /* when the story's event happens: after base_ns */
    int wait_ms;          /* the call's time-out, or FOR_EVER */
    const sigset_t *mask; /* the call's mask, or NULL */
    int64_t base_ns;      /* LATER: when memory was last given back; else when the run began */

    /* what the call waits for */
    int fd[FDS];
    pid_t child;
    pthread_t joinee;
    bool is_joined, holds_mutex;
    sem_t sem;
    pthread_cond_t cond;
    pthread_mutex_t mutex;

    /* who blocks, and what others do meanwhile */
    pthread_t sleeper, helper;
    struct step step[STEPS];
    int steps;
    int hook_steps; /* so many of them, 0 or 1, are taken by the hook in the give-back instead */
    bool forgives_early_step; /* the first step may come before the call has begun */
    bool is_cancelled_before; /* the thread cancels itself, then makes the call */
    bool has_aftermath;
    bool ignores_left;  /* what the call says of time left means nothing here */
    bool judges_memory; /* what is above the soft target must be gone by the end */

    /* what came out */
    int64_t began_ns, ended_ns;
    int64_t awake_ns; /* what the thread ran, or waited for a processor, in the call */
    long mask_before;
    struct note note[NOTES];
    int notes;
    long retained_bytes;
    bool is_over;
    char problem[160];     /* what is wrong, whatever libc does */
    char inconclusive[80]; /* the machine was too slow for this run to tell anything */
};

/* What a blocker is like. */
enum {
    TIMED = 1,          /* it takes a time-out */
    ENDLESS = 2,        /* it can wait for ever */
    SPLIT = 4,          /* its wait can be split */
    MASKED = 8,         /* it takes a mask */
    SECONDS = 16,       /* its time-out is whole seconds */
    JUMPABLE = 32,      /* a signal handler may leave it by siglongjmp */
    SIGNAL_ENDS = 64,   /* `end` is a signal */
    HANDLER_ENDS = 128, /* `end` may be called by a signal handler */
    ABSOLUTE = 256,     /* deadline by a clock that may be set: not split */
};
struct blocker {
    const char *name, *call;
    unsigned is;
    action *open, *block, *end, *close; /* end: NULL when only time or a signal ends it */
};
struct family {
    const char *name;
    bool (*applies)(const struct blocker *b);
    void (*run)(struct run *r);
    bool has_moments, only_later, only_ready;
};
/* A case of one call alone: mostly an argument that it refuses. */
struct special {
    const char *call, *name;
    void (*run)(struct run *r);
};

extern const struct blocker time_blockers[], fd_blockers[], data_blockers[], child_blockers[],
    thread_blockers[];
extern const struct family families[], cancel_families[], jump_families[], middle_families[],
    condition_families[];
extern const struct special specials[], fd_specials[], data_specials[];

/* ---- semantics_run.c ---- */

int64_t now_ns(void);
void rest_ms(int64_t ms);
struct timespec timespec_in(clockid_t clock, int64_t ms);

/* What is noted is compared; what is complained of is wrong in itself. */
void note(struct run *r, const char *what, long value);
void complain(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Around the call: errno's canary, the clock, the masks. `result` is noted, and errno. */
void call_begins(struct run *r);
void call_ended(struct run *r, long result);
void call_is_over(struct run *r); /* the clocks alone, where there is no result */
/* The time left that a call has told must fit what it has slept. */
void check_left(struct run *r, int64_t left_ns);

/* Arguments that the compiler would complain of if it knew them. */
extern void *volatile bad_address;
extern volatile long minus_one;

long retained_bytes(void);
/* Brings the process into the state READY or LATER; returns when memory was last given back. */
int64_t prepare(enum state state);

/* A step that the helper thread takes `ms` after base_ns, but not before the call may have begun.
 */
void plan(struct run *r, int64_t ms, action *act);
void plan_after(struct run *r, int64_t ms, action *act); /* ms after the previous step */
void helper_start(struct run *r);
void helper_join(struct run *r);

/* open, block while the helper takes its steps, close; then the notes that all have in common. */
void go(struct run *r);
void judge_time(struct run *r);

void send_signal(struct run *r); /* SIGUSR1 to the sleeper */
void catch_signal(struct run *r, int flags, void (*also)(void));
extern volatile sig_atomic_t handled, is_in_call;
sigset_t set_of(int signal);
long mask_now(void); /* the thread's, as a number */

/* release.so, preloaded behind the library: the next munmap or madvise of this process calls
 * *release_hook first, once; while release_refuses is set both fail with EINVAL. */
extern void (*release_hook)(void) __attribute__((weak));
extern int release_refuses __attribute__((weak));
/* The first step shall be taken by that hook, if the call gives back. */
void plan_in_give_back(struct run *r, action *act);

/* As `go`, but the steps cancel the thread (semantics_cancel.c). Does not return. */
void cancel_sleeper(struct run *r);
void go_as_victim(struct run *r, int cancel_state, int cancel_type);

/* malloc, another thread's malloc, fork and giving back must work as ever. */
void aftermath(struct run *r);

/* A thread that allocates all the time, and so empties the magazines of those who sleep. */
void neighbour_start(void);
void neighbour_stop(void);
/* Takes and gives back blocks of many sizes, each of which must stay as it was filled. */
void *churn(void *unused);

#endif
