/* A process that holds much, drops nearly all of it and blocks: what is resident then is for an
 * observer outside to see.
 *
 *   target CALL built    300 MB of small objects and big buffers are built, nearly all are freed,
 *                        then it blocks
 *   target CALL loop     100 MB are built and dropped ten times without sleeping, so that retention
 *                        is earned, then it blocks with nothing
 *   target CALL again    as built, but it gave back just before and spent its tokens, and dropped
 *                        5 MB more since
 *   target CALL soon     nothing is built, but it gave back just before and spent its tokens, and
 *                        dropped 5 MB since
 *   target CALL small    5 MB are built and dropped ten times, with a rest after every other time,
 *                        then it blocks with nothing
 *   target CALL beside   as loop, but another thread gave back just before and sleeps
 *
 * It says "ready", waits for a line on its input, and says "live N" (bytes of pages that hold a
 * block) right before it blocks for some 600 ms. What it does itself goes by system calls, since
 * libc's functions would give back. */
#define _GNU_SOURCE
#include "fortified.h"
#include "spend.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_MS = 600,
    BLOCKS = 900000,
    BUFFERS = 24,
    KEEP_EACH = 500, /* of the blocks; of the buffers two stay */
    PAGE_TABLE = 1 << 17
};
static const size_t MB = 1000000;

static void **block; /* mapped and touched before the observer looks for the first time */
static void *buffer[BUFFERS];
static uintptr_t *page_table;

/* ---- what the calls wait for ---- */

static int stream[2], listener, connecting, epoll;
static sem_t semaphore, go;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t sleeper, joinee;
static pid_t child;

static void rest_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    syscall(SYS_nanosleep, &t, NULL);
}
static struct timespec in_ms(clockid_t clock, long ms) {
    struct timespec t;
    clock_gettime(clock, &t);
    t.tv_nsec += ms * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

static void end_stream(void) { syscall(SYS_write, stream[1], "x", 1); }
static void end_listener(void) {
    struct sockaddr_un name;
    socklen_t n = sizeof name;
    getsockname(listener, (struct sockaddr *)&name, &n);
    connect(connecting, (struct sockaddr *)&name, n);
}
static void end_semaphore(void) { sem_post(&semaphore); }
static void end_cond(void) { pthread_cond_signal(&cond); }
static void end_signal(void) { pthread_kill(sleeper, SIGUSR1); }
static void end_child(void) { end_stream(); }
static void on_signal(int signal) { (void)signal; }

/* ---- the calls ---- */

static char data[16];
static struct pollfd never;
#define T  (&(struct timespec){0, BLOCK_MS * 1000000})
#define TV (&(struct timeval){0, BLOCK_MS * 1000})
#define BLOCK(name, expression) \
    static void block_##name(void) { (void)(expression); }

BLOCK(poll, poll(&never, 1, BLOCK_MS))
BLOCK(__poll_chk, __poll_chk(&never, 1, BLOCK_MS, sizeof never))
BLOCK(ppoll, ppoll(&never, 1, T, NULL))
BLOCK(__ppoll_chk, __ppoll_chk(&never, 1, T, NULL, sizeof never))
BLOCK(select, select(0, NULL, NULL, NULL, TV))
BLOCK(select_second, select(0, NULL, NULL, NULL, &(struct timeval){0, 1000001}))
BLOCK(select_large, select(FD_SETSIZE + 1, NULL, NULL, NULL, TV))
BLOCK(pselect, pselect(0, NULL, NULL, NULL, T, NULL))
BLOCK(epoll_wait, epoll_wait(epoll, &(struct epoll_event){0}, 1, BLOCK_MS))
BLOCK(epoll_pwait, epoll_pwait(epoll, &(struct epoll_event){0}, 1, BLOCK_MS, NULL))
BLOCK(nanosleep, nanosleep(T, NULL))
BLOCK(nanosleep_ages, nanosleep(&(struct timespec){INT64_MAX, 0}, NULL))
BLOCK(clock_nanosleep, clock_nanosleep(CLOCK_MONOTONIC, 0, T, NULL))
BLOCK(clock_nanosleep_boottime, clock_nanosleep(CLOCK_BOOTTIME, 0, T, NULL))
BLOCK(sleep, sleep(1))
BLOCK(usleep, usleep(BLOCK_MS * 1000))
BLOCK(pause, pause())
BLOCK(wait, wait(NULL))
BLOCK(waitpid, waitpid(child, NULL, 0))
BLOCK(wait3, wait3(NULL, 0, NULL))
BLOCK(wait4, wait4(child, NULL, 0, NULL))
BLOCK(waitid, waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED))
BLOCK(sem_wait, sem_wait(&semaphore))
BLOCK(pthread_join, pthread_join(joinee, NULL))
BLOCK(read, read(stream[0], data, 1))
BLOCK(__read_chk, __read_chk(stream[0], data, 1, sizeof data))
BLOCK(readv, readv(stream[0], &(struct iovec){data, 1}, 1))
BLOCK(recv, recv(stream[0], data, 1, 0))
BLOCK(__recv_chk, __recv_chk(stream[0], data, 1, sizeof data, 0))
BLOCK(recvfrom, recvfrom(stream[0], data, 1, 0, NULL, NULL))
BLOCK(__recvfrom_chk, __recvfrom_chk(stream[0], data, 1, sizeof data, 0, NULL, NULL))
BLOCK(recvmsg,
      recvmsg(stream[0], &(struct msghdr){.msg_iov = &(struct iovec){data, 1}, .msg_iovlen = 1}, 0))
BLOCK(accept, accept(listener, NULL, NULL))
BLOCK(accept4, accept4(listener, NULL, NULL, 0))

static void block_sigsuspend(void) {
    sigset_t none;
    sigemptyset(&none);
    sigsuspend(&none);
}
static void block_until(clockid_t clock) {
    struct timespec until = in_ms(clock, BLOCK_MS);
    clock_nanosleep(clock, TIMER_ABSTIME, &until, NULL);
}
static void block_clock_nanosleep_until(void) { block_until(CLOCK_MONOTONIC); }
static void block_clock_nanosleep_until_realtime(void) { block_until(CLOCK_REALTIME); }
static void block_sem_timedwait(void) {
    struct timespec until = in_ms(CLOCK_REALTIME, BLOCK_MS);
    sem_timedwait(&semaphore, &until);
}
static void block_sem_clockwait(void) {
    struct timespec until = in_ms(CLOCK_MONOTONIC, BLOCK_MS);
    sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until);
}
static void block_pthread_cond_wait(void) {
    pthread_mutex_lock(&mutex);
    pthread_cond_wait(&cond, &mutex);
    pthread_mutex_unlock(&mutex);
}
static void block_pthread_cond_timedwait(void) {
    struct timespec until = in_ms(CLOCK_REALTIME, BLOCK_MS);
    pthread_mutex_lock(&mutex);
    pthread_cond_timedwait(&cond, &mutex, &until);
    pthread_mutex_unlock(&mutex);
}
static void block_pthread_cond_clockwait(void) {
    struct timespec until = in_ms(CLOCK_MONOTONIC, BLOCK_MS);
    pthread_mutex_lock(&mutex);
    pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &until);
    pthread_mutex_unlock(&mutex);
}

/* end: what another thread does after BLOCK_MS; NULL where the call itself says how long. */
static const struct call {
    const char *name;
    void (*block)(void), (*end)(void);
} calls[] = {
#define CALL(name, end) \
    { #name, block_##name, end }
    CALL(poll, NULL),
    CALL(__poll_chk, NULL),
    CALL(ppoll, NULL),
    CALL(__ppoll_chk, NULL),
    CALL(select, NULL),
    CALL(select_second, NULL),
    CALL(select_large, NULL),
    CALL(pselect, NULL),
    CALL(epoll_wait, NULL),
    CALL(epoll_pwait, NULL),
    CALL(nanosleep, NULL),
    CALL(nanosleep_ages, end_signal),
    CALL(clock_nanosleep, NULL),
    CALL(clock_nanosleep_boottime, NULL),
    CALL(clock_nanosleep_until, NULL),
    CALL(clock_nanosleep_until_realtime, NULL),
    CALL(sleep, NULL),
    CALL(usleep, NULL),
    CALL(pause, end_signal),
    CALL(sigsuspend, end_signal),
    CALL(wait, end_child),
    CALL(waitpid, end_child),
    CALL(wait3, end_child),
    CALL(wait4, end_child),
    CALL(waitid, end_child),
    CALL(sem_wait, end_semaphore),
    CALL(sem_timedwait, NULL),
    CALL(sem_clockwait, NULL),
    CALL(pthread_cond_wait, end_cond),
    CALL(pthread_cond_timedwait, NULL),
    CALL(pthread_cond_clockwait, NULL),
    CALL(pthread_join, end_semaphore),
    CALL(read, end_stream),
    CALL(__read_chk, end_stream),
    CALL(readv, end_stream),
    CALL(recv, end_stream),
    CALL(__recv_chk, end_stream),
    CALL(recvfrom, end_stream),
    CALL(__recvfrom_chk, end_stream),
    CALL(recvmsg, end_stream),
    CALL(accept, end_listener),
    CALL(accept4, end_listener),
};

/* ---- those who end the calls: none of them ever allocates ---- */

static void *ender(void *call) {
    while (sem_trywait(&go)) rest_ms(1);
    rest_ms(BLOCK_MS);
    ((const struct call *)call)->end();
    return NULL;
}
static void *until_posted(void *unused) {
    while (sem_trywait(&semaphore)) rest_ms(5);
    return unused;
}

static void open_all(const struct call *call) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct sigaction action = {.sa_handler = on_signal};
    pthread_t thread;
    sigaction(SIGUSR1, &action, NULL);
    sleeper = pthread_self();
    sem_init(&semaphore, 0, 0);
    sem_init(&go, 0, 0);
    epoll = epoll_create1(0);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    connecting = socket(AF_UNIX, SOCK_STREAM, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, stream)) abort();
    if (bind(listener, (struct sockaddr *)&name, sizeof name.sun_family) || listen(listener, 1))
        abort();
    never = (struct pollfd){stream[0], POLLIN, 0};
    if (call->end == end_child) {
        child = fork();
        if (!child) _exit((int)syscall(SYS_read, stream[0], data, 1));
    }
    if (call->block == block_pthread_join) pthread_create(&joinee, NULL, until_posted, NULL);
    if (call->end) pthread_create(&thread, NULL, ender, (void *)call);
}

/* ---- memory ---- */

static void *own(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

/* Small objects of 200 to 512 bytes up to `bytes`; returns how many. */
static int build(size_t bytes) {
    static uint64_t random = 88172645463325252u;
    int n = 0;
    for (size_t built = 0; built < bytes && n < BLOCKS; n++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t size = 200 + random % 313;
        block[n] = malloc(size);
        if (!block[n]) abort();
        *(char *)block[n] = 1;
        built += size;
    }
    return n;
}
static void drop(int n, int keep_each) {
    for (int i = 0; i < n; i++)
        if (!keep_each || i % keep_each) {
            free(block[i]);
            block[i] = NULL;
        }
}

static void build_and_drop(void) {
    int n = build(280 * MB);
    for (int i = 0; i < BUFFERS; i++) {
        buffer[i] = malloc(MB);
        if (!buffer[i]) abort();
        memset(buffer[i], 1, MB);
    }
    drop(n, KEEP_EACH);
    for (int i = 2; i < BUFFERS; i++) free(buffer[i]), buffer[i] = NULL;
}

static bool add_page(uintptr_t number) {
    for (uint64_t at = number * 0x9e3779b97f4a7c15ull >> 47;; at = (at + 1) & (PAGE_TABLE - 1)) {
        if (page_table[at] == number) return false;
        if (page_table[at]) continue;
        page_table[at] = number;
        return true;
    }
}
static long live_bytes(void) {
    long pages = 0;
    for (int i = 0; i < BLOCKS; i++)
        if (block[i]) pages += add_page((uintptr_t)block[i] >> 12);
    for (int i = 0; i < BUFFERS; i++)
        for (size_t at = 0; buffer[i] && at < MB; at += 4096)
            pages += add_page(((uintptr_t)buffer[i] + at) >> 12);
    return pages << 12;
}

static volatile bool has_given_back;
static void *give_back_and_sleep(void *unused) {
    spend_tokens();
    has_given_back = true;
    pause();
    return unused;
}

static void say(const char *text) { syscall(SYS_write, STDOUT_FILENO, text, strlen(text)); }

static void prepare(const char *how) {
    static char line[64];
    pthread_t thread;
    if (!strcmp(how, "built") || !strcmp(how, "again")) build_and_drop();
    if (!strcmp(how, "again") || !strcmp(how, "soon")) spend_tokens();
    if (!strcmp(how, "small"))
        for (int i = 0; i < 5; i++) {
            make_garbage();
            rest_ms(120);
            make_garbage();
        }
    if (!strcmp(how, "loop") || !strcmp(how, "beside"))
        for (int i = 0; i < 10; i++) drop(build(100 * MB), 0);
    if (!strcmp(how, "beside")) {
        if (pthread_create(&thread, NULL, give_back_and_sleep, NULL)) abort();
        while (!has_given_back) drop(build(50 * MB), 0);
    }
    snprintf(line, sizeof line, "live %ld\n", live_bytes());
    say(line);
}

int main(int argc, char **argv) {
    const struct call *call = calls, *end = calls + sizeof calls / sizeof *calls;
    while (argc == 3 && call < end && strcmp(call->name, argv[1])) call++;
    if (argc != 3 || call == end) return 2;
    block = own(BLOCKS * sizeof *block);
    page_table = own(PAGE_TABLE * sizeof *page_table);
    open_all(call);
    say("ready\n");
    syscall(SYS_read, STDIN_FILENO, data, 1);
    prepare(argv[2]);
    sem_post(&go);
    call->block();
    say("woke\n");
    exit(0);
}
