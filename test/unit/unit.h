/* What the unit tests share: the kernel's door with counters and refusals, children whose last words are kept,
 * threads that end as preload ends them, and a small program whose blocks are checked for overwriting.
 *
 * Criterion runs each test in a process of its own, so each begins with an untouched heap. Core works there
 * as in a process with threads; unit_be_alone makes it take the other way.
 */
#ifndef LOWTIDE_UNIT_H
#define LOWTIDE_UNIT_H

#include "../../core/arena.h"
#include "../../core/core.h"
#include "../../core/stats.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define assert_sound()                                         \
    do {                                                       \
        const char *unsound_ = heap_verify();                  \
        cr_assert_null(unsound_, "heap_verify: %s", unsound_); \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof *(array))

#if defined(__SANITIZE_THREAD__)
#define UNIT_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNIT_UNDER_TSAN 1
#endif
#endif

/* The process has one thread, as far as core can see, until unit_run_threads. */
void unit_be_alone(void);

/* ---- the kernel ---- */

struct unit_kernel {
    _Atomic(long) mmaps, munmaps, releases, mremaps; /* calls made, refused ones too */
    /* Calls until the next is refused; negative: never. */
    _Atomic(long) mmaps_left, munmaps_left, releases_left, mremaps_left;
    bool takes_target;               /* a refused move has unmapped its target already, as older kernels do */
    _Atomic(int64_t) mapped_bytes;   /* mapped less unmapped */
    _Atomic(unsigned) advice;        /* bit a kind of madvise seen */
    _Atomic(bool) is_crooked;        /* an address or length was not a multiple of the OS page */
    void (*on_call)(void);           /* what a library that wraps these calls may do: allocate */
};
extern struct unit_kernel unit_kernel;

/* From now on core's system calls go through unit_kernel. */
void unit_watch_kernel(void);

/* What getauxval says to core and policy from now on. */
void unit_set_auxval(unsigned long type, unsigned long value);

/* ---- children, threads and mistakes ---- */

/* Runs act in a forked child, keeps what it says on stderr, returns its wait status. */
int unit_in_child(void (*act)(void *), void *context, char *said, size_t room);

/* Runs n threads that begin together; each closes its heap at its end. */
void unit_run_threads(unsigned n, void (*act)(unsigned index, void *context), void *context);

/* Runs act; true if it was found out, which ends act, whatever core was about, and not the process. */
bool unit_is_misuse(void (*act)(void *), void *context);

/* ---- a program ---- */

uint64_t unit_random(uint64_t *state);

enum { CHURN_BLOCKS = 512 };
struct unit_churn {
    uint64_t random;
    size_t most_bytes;
    struct churned {
        unsigned char *p;
        size_t bytes;
        unsigned char tag;
    } block[CHURN_BLOCKS];
    const char *fault; /* NULL, or what was found wrong */
};
/* One allocation, reallocation or free at a random place; checks the block it changes. */
void unit_churn_step(struct unit_churn *churn);
/* Frees everything. */
void unit_churn_end(struct unit_churn *churn);

/* Blocks that threads hand to each other: each is freed by whoever finds it. */
enum { EXCHANGE_PLACES = 256 };
struct unit_exchange {
    _Atomic(unsigned char *) place[EXCHANGE_PLACES];
    _Atomic(uint32_t) faults;
    size_t most_bytes;
    unsigned steps;
};
void unit_exchange_run(unsigned index, void *exchange);
void unit_exchange_end(struct unit_exchange *exchange);

#endif
