/* What blocking often costs, and what a sleeper keeps from others. Prints numbers; the driver
 * judges.
 *
 *   busy wakeups MS     one thread wakes up to 20,000 times a second with a little garbage each
 * time, another churns in buffers of 100 kB busy cached FIRST|LATER cond|sem|poll|read a thread
 * fills its magazines and blocks in the call, FIRST or LATER than memory was given back and tokens
 * were spent; another thread allocates on for 500 ms and ends; how many blocks wait in magazines
 * then? */
#define _GNU_SOURCE
#include "spend.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAKEUPS_A_SECOND = 20000, BLOCKS = 40, BUFFERS = 24, BUFFER_BYTES = 100000 };

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
/* libc's would give back. */
static void rest_us(long us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    syscall(SYS_nanosleep, &t, NULL);
}
static void *take(size_t bytes) {
    char *p = malloc(bytes);
    if (!p) abort();
    for (size_t at = 0; at < bytes; at += 4096) p[at] = 1;
    return p;
}

/* ---- wake-ups ---- */

static volatile bool is_over;
static volatile long churned;

static void *churn(void *unused) {
    void *buffer[BUFFERS];
    for (; !is_over; churned++) {
        for (int i = 0; i < BUFFERS; i++) buffer[i] = take(BUFFER_BYTES);
        for (int i = 0; i < BUFFERS; i++) free(buffer[i]);
    }
    return unused;
}

static void wake_up(int epoll, int event) {
    uint64_t one = 1;
    struct epoll_event ready;
    void *block[BLOCKS];
    if (write(event, &one, sizeof one) != sizeof one) abort();
    if (epoll_wait(epoll, &ready, 1, -1) != 1) abort();
    for (int i = 0; i < BLOCKS; i++) block[i] = take(400);
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
    if (syscall(SYS_read, event, &one, sizeof one) != sizeof one) abort();
}

static int wakeups(long ms) {
    pthread_t thread;
    struct epoll_event what = {.events = EPOLLIN};
    int event = eventfd(0, 0), epoll = epoll_create1(0);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, event, &what)) abort();
    if (pthread_create(&thread, NULL, churn, NULL)) abort();
    int64_t began = now_ns(), end = began + ms * 1000000;
    long done = 0;
    for (int64_t now; (now = now_ns()) < end; done++) {
        if (done * (1000000000ll / WAKEUPS_A_SECOND) > now - began) rest_us(100);
        wake_up(epoll, event);
    }
    is_over = true;
    pthread_join(thread, NULL);
    printf("ms=%ld\nwakeups=%ld\nchurned=%ld\n", (long)((now_ns() - began) / 1000000), done,
           churned * BUFFERS);
    return 0;
}

/* ---- magazines of a sleeper ---- */

enum { ENOUGH_BLOCKS = 300 }; /* to tell whether they went */
static sem_t filled, go, never;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int nobody_writes[2];

/* 64 classes, from 16 bytes to some 8 KiB, each with as many blocks as its magazine takes; again where the pages came so
 * slowly that the first had shrunk by then. */
static void fill_magazines(void) {
    static void *block[200];
    for (int class = 0; class < 64; class ++) {
        size_t bytes = class < 32 ? 16u * (size_t)(class + 1) : 240u * (size_t)(class - 29);
        for (int i = 0; i < 200; i++) block[i] = take(bytes);
        for (int i = 0; i < 200; i++) free(block[i]);
    }
}

static void *sleeper(void *call) {
    char byte;
    for (int i = 0; i < 20 && mallinfo2().ordblks <= ENOUGH_BLOCKS; i++) fill_magazines();
    sem_post(&filled);
    while (sem_trywait(&go)) continue; /* not a wait */
    if (!strcmp(call, "cond")) {
        pthread_mutex_lock(&mutex);
        pthread_cond_wait(&cond, &mutex);
    } else if (!strcmp(call, "sem"))
        sem_wait(&never);
    else if (!strcmp(call, "poll"))
        poll(NULL, 0, -1);
    else if (read(nobody_writes[0], &byte, 1))
        abort();
    return NULL;
}

/* Allocates for 500 ms, and takes what it has cached itself with it when it ends. */
static void *allocator(void *when) {
    if (!strcmp(when, "LATER")) spend_tokens();
    sem_post(&go);
    rest_us(10000);
    for (int64_t end = now_ns() + 500000000; now_ns() < end;) make_garbage();
    return NULL;
}

static int cached(const char *when, const char *call) {
    pthread_t asleep, awake;
    sem_init(&filled, 0, 0);
    sem_init(&go, 0, 0);
    sem_init(&never, 0, 0);
    if (pipe(nobody_writes)) abort();
    if (pthread_create(&asleep, NULL, sleeper, (void *)(uintptr_t)call)) abort();
    while (sem_trywait(&filled)) rest_us(1000);
    printf("before=%zu\n", mallinfo2().ordblks);
    rest_us(120000); /* the library has read a file when it started, which counts */
    if (pthread_create(&awake, NULL, allocator, (void *)(uintptr_t)when)) abort();
    while (pthread_tryjoin_np(awake, NULL)) rest_us(1000);
    printf("after=%zu\n", mallinfo2().ordblks);
    fflush(stdout);
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "wakeups")) return wakeups(strtol(argv[2], NULL, 10));
    if (argc == 4 && !strcmp(argv[1], "cached")) return cached(argv[2], argv[3]);
    return 2;
}
