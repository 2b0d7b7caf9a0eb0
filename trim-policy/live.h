/* Live statistics: the counters of this process in a page that other processes of the same user
 * read while it runs (`lowtide top`, `lowtide stats`), and through which they ask it to give
 * everything back (`lowtide trim`).
 *
 * The page is the file /dev/shm/lowtide-UID/PID.NAMESPACE (UID = effective user, NAMESPACE = inode
 * of the pid namespace), mapped shared; no descriptor stays open. It is made at the first
 * housekeeping at which the process is 100 ms old and holds a MiB, so that short programs never
 * pay, and tried once: whatever is in the way (no /dev/shm, full, another's directory, a file size
 * limit, raised privileges, a seccomp filter coming) is silent, and there are no live statistics
 * then. A forked child forgets its parent's page and makes its own. The file goes at exit; what a
 * killed process left is removed by the next one of that user to make a page, and by readers.
 *
 * The page describes itself: a reader needs the header below, then finds so many values and, in the
 * same order, as many lines "key<TAB>text". What only a walk of the heap finds is LIVE_UNKNOWN. A
 * snapshot is whole where `sequence` was even and the same before and after reading.
 *
 * Threads: snapshots are written, and the page is made, with policy's state held. All system calls
 * are direct ones; errno is kept, nothing is allocated.
 */
#ifndef LOWTIDE_LIVE_H
#define LOWTIDE_LIVE_H

#include "../core/core.h"
#include "../core/stats.h"

/* What a page has beside the keys of core/stats.def: MORE(key, text). The last four are as of
 * policy's last look at the machine, if it ever looked; zero where it found none. */
#define LIVE_MORE(MORE)                                                                         \
    MORE(large_asked_bytes, "in large buffers, touched or not")                                 \
    MORE(magazine_room_bytes, "blocks that magazines have room for: live_bytes may be so much " \
                              "less, as far as they are filled")                                \
    MORE(level, "number: how short memory is, 0 = low to 4 = oom")                              \
    MORE(min_free_bytes, "that should stay available")                                          \
    MORE(low_watermark_bytes, "available, below which memory is getting short")                 \
    MORE(available_bytes, "that are to be had without swapping")                                \
    MORE(limit_bytes, "of memory that the process can have")

struct live_values {
    struct stats heap;
#define MORE(key, text) int64_t key;
    LIVE_MORE(MORE)
#undef MORE
};

#define LIVE_UNKNOWN INT64_MIN
enum { LIVE_LAYOUT = 1, LIVE_VALUES = sizeof(struct live_values) / sizeof(int64_t) };

/* All numbers as the machine has them. */
struct live_page {
    _Atomic(uint64_t) magic; /* LIVE_MAGIC, once all else is there */
    uint32_t layout;         /* LIVE_LAYOUT: of this header */
    uint32_t header_bytes;   /* the values begin there */
    uint32_t values;
    uint32_t text_bytes; /* the keys' lines, which follow the values */
    int32_t pid;
    uint32_t unused;
    uint64_t started;       /* the process, in ticks since boot (/proc/PID/stat); 0 = unknown */
    uint64_t pid_namespace; /* its inode; 0 = unknown */
    char version[16];
    char program[32]; /* both end with a NUL */

    /* Written by readers: a trim is asked for by another number here; then `bell`, a futex, is set
     * and woken, for the keeper. */
    _Atomic(uint32_t) trim_asked;
    _Atomic(uint32_t) bell;

    /* Written by the process. */
    _Atomic(uint32_t) trim_served; /* the last number that was */
    _Atomic(uint32_t) has_keeper;  /* a thread that listens to `bell` */
    _Atomic(int64_t) trim_bytes;   /* released by it */
    _Atomic(uint64_t) sequence;
    _Atomic(int64_t) written_ms; /* of the snapshot, by CLOCK_MONOTONIC */
    _Atomic(int64_t) value[LIVE_VALUES];
};
#define LIVE_MAGIC 0x656469742d776f6cull /* "low-tide" where the low byte comes first */

/* With `root` in front of /dev/shm ("" = the real one). Without `is_wanted` all else does nothing.
 */
HIDDEN void live_init(const char *root, bool is_wanted);

/* In a forked child. */
HIDDEN void live_after_fork(void);

/* At exit: removes the file. */
HIDDEN void live_close(void);

/* Where something was or could be given back: gives everything back if that is asked for, and
 * writes a snapshot; makes the page when it is time. Call holding nothing. */
HIDDEN void live_update(int64_t now_ms);

HIDDEN bool live_is_trim_asked(void);

/* For the keeper: the word of the page that it is woken through, or NULL as long as there is no
 * page. */
HIDDEN _Atomic(uint32_t) *live_bell(void);

#endif
