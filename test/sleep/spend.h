/* Garbage, and the way into the state in which the library says that it is too soon to give back.
 *
 * What a thread gives back before it blocks within 100 ms of the last time is paid with tokens: a
 * page above the soft target costs one, magazines some twenty; the last thread that is awake may
 * run into debt. A poll of a millisecond is too short to be split, so it gives back if that can be
 * paid, or does nothing. */
#ifndef LOWTIDE_TEST_SPEND_H
#define LOWTIDE_TEST_SPEND_H

#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    GARBAGE_BLOCKS = 7500, /* of 400 bytes: some 3 MB, which is what may be retained at most */
    GARBAGE_BUFFERS = 2,   /* of a MiB */
    LESS_GARBAGE = 5000    /* blocks: some 2 MB, still twice the soft target */
};

/* Returns the block that was freed last: a thread's cache hands that one out next. */
static inline void *make_blocks(int n) {
    static __thread void *block[GARBAGE_BLOCKS];
    for (int i = 0; i < n; i++) {
        block[i] = malloc(400);
        if (!block[i]) abort();
        memset(block[i], 1, 400);
    }
    for (int i = 0; i < n; i++) free(block[i]);
    return block[n - 1];
}

static inline void *make_garbage(void) {
    for (int i = 0; i < GARBAGE_BUFFERS; i++) {
        char *p = malloc(1 << 20);
        if (!p) abort();
        for (int at = 0; at < 1 << 20; at += 4096) p[at] = 1;
        free(p);
    }
    return make_blocks(GARBAGE_BLOCKS);
}

static inline int64_t spend_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

/* Whether a wait right now gives back: the cache is empty then, and the next block another one. */
static inline bool gives_back(const void *freed_last) {
    poll(NULL, 0, 1);
    void *next = malloc(400);
    bool gives = next != freed_last;
    free(next);
    return gives;
}

/* Gives back until it cannot be paid, first much at a time and then less: who has paid for much or
 * is in debt for it cannot pay for less for a while either. What could not be paid is left. Returns
 * when memory was given back last; 0: it never is, or there is no end to it. */
static inline int64_t spend_tokens(void) {
    int64_t last_ns = 0;
    for (int is_less = 0; is_less < 2; is_less++) {
        malloc_trim(0);                                                /* is not paid */
        syscall(SYS_nanosleep, &(struct timespec){0, 12000000}, NULL); /* refused until a tick */
        for (int i = 0;; i++) {
            if (i == (last_ns ? 2000 : 200)) return 0;
            const void *freed_last = is_less ? make_blocks(LESS_GARBAGE) : make_garbage();
            int64_t now = spend_clock_ns();
            bool gives = gives_back(freed_last);
            if (!gives && last_ns) break;
            if (gives) last_ns = now;
        }
    }
    return last_ns;
}

#endif
