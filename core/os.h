/* The one door to the kernel's memory calls.
 *
 * Preconditions: addresses and lengths are multiples of the OS page (callers work in PAGE_BYTES and
 * fold to OS pages with os_page_fold). errno is as it was before, whatever happens. No lock is held
 * by the caller, since the calls go to libc's functions, which another library may have wrapped
 * (registration caches of network libraries do), and those wrappers may allocate.
 */
#ifndef LOWTIDE_CORE_OS_H
#define LOWTIDE_CORE_OS_H

#include "atomics.h"

#include <sys/uio.h>

/* libc's own functions (the next in link order), set by preload; until then, and without preload,
 * the system calls are made directly. */
struct os_calls {
    void *(*mmap)(void *, size_t, int, int, int, long);
    int (*munmap)(void *, size_t);
    int (*madvise)(void *, size_t, int);
    void *(*mremap)(void *, size_t, size_t, int, ...);
    /* madvise with MADV_DONTNEED for each range, in one call: the bytes given back before the first
     * range that was refused, or -1. NULL where that cannot be, or not without somebody's
     * knowledge. */
    long (*release_ranges)(const struct iovec *ranges, unsigned n);
};
extern HIDDEN struct os_calls os_calls;

extern HIDDEN size_t os_page_bytes;    /* 4096, 16384 or 65536 */
extern HIDDEN bool os_keep_huge_pages; /* leave transparent huge pages as the system has them */
extern HIDDEN bool os_return_lazily;   /* MADV_FREE instead of MADV_DONTNEED */

/* True once the program is about to install a seccomp filter, which may kill it for any system call
 * that it does not make itself: from then on there are none but mmap, munmap, madvise, mremap and
 * futex, rt_sigprocmask for a line or a foreign pointer, and write. For good; inherited by forked
 * children. */
extern HIDDEN _Atomic(bool) os_is_filtered;

/* Reads the page size, and keeps huge pages from the library's own tables. */
HIDDEN void os_init(void);

/* Fresh zero pages aligned to `alignment` (a power of two, at least the OS page), near `hint` where
 * that is possible (0: anywhere). Returns 0 when the kernel refuses. */
HIDDEN uintptr_t os_map(size_t bytes, size_t alignment, uintptr_t hint);

/* True when the range is gone from the address space; false leaves it as it was. */
HIDDEN bool os_unmap(uintptr_t base, size_t bytes);

/* The range is not needed any more. What the kernel does not take back now is released, and
 * unmapped by os_unmap_owed, which tells whether it unmapped anything. */
HIDDEN void os_discard(uintptr_t base, size_t bytes);
HIDDEN bool os_unmap_owed(void);

/* True when the pages have been given back and read as zero from now on; with os_return_lazily,
 * when the kernel may take them, which it does at any time or never. */
HIDDEN bool os_release(uintptr_t base, size_t bytes);

/* The same for up to OS_RANGES ranges: bit i of the result tells of range i. */
enum { OS_RANGES = 64 };
HIDDEN uint64_t os_release_ranges(const struct iovec *ranges, unsigned n);

/* Makes the mapping at `base` `new_bytes` long without moving it. */
HIDDEN bool os_resize_in_place(uintptr_t base, size_t old_bytes, size_t new_bytes);

/* Moves the pages at `from` over the mapping at `to` (of `to_bytes`, which is replaced); `from` is
 * gone afterwards. False: `from` is as it was; `to` may be gone where a kernel before 6.17 refuses
 * for want of mappings or memory. */
HIDDEN bool os_move(uintptr_t from, size_t from_bytes, uintptr_t to, size_t to_bytes);

static inline size_t os_round_up(size_t bytes) {
    return (bytes + os_page_bytes - 1) & ~(os_page_bytes - 1);
}

/* The first bytes of a file, shared with whoever else maps it; NULL when the kernel refuses. Both
 * are direct system calls: this is not heap, and the caller may hold policy's state. */
HIDDEN void *os_map_file(int fd, size_t bytes);
HIDDEN void os_unmap_file(void *base, size_t bytes);

/* Whether something is mapped at the first page. */
HIDDEN bool os_is_mapped(uintptr_t base);

/* Lets the program read and write a range, or neither; false when the kernel refuses. By libc's
 * function: nobody keeps account of that. */
HIDDEN bool os_open(uintptr_t base, size_t bytes, bool is_open);

/* The bits of a page word whose whole OS page is in `pages`. */
static inline uint64_t os_page_fold(uint64_t pages) {
    if (os_page_bytes >= 4 * PAGE_BYTES) {
        pages &= pages >> 1 & pages >> 2 & pages >> 3 & 0x1111111111111111ull;
        if (os_page_bytes >= 16 * PAGE_BYTES) {
            pages &= pages >> 4 & pages >> 8 & pages >> 12 & 0x0001000100010001ull;
            return pages * 0xffff;
        }
        return pages * 0xf;
    }
    return pages;
}

/* The bits of a page word that share an OS page with one of `pages`. */
static inline uint64_t os_page_spread(uint64_t pages) {
    unsigned n = (unsigned)(os_page_bytes / PAGE_BYTES);
    for (unsigned i = 0; n > 1 && i < ARENA_PAGES; i += n)
        if (pages & bit_run(i, n)) pages |= bit_run(i, n);
    return pages;
}

#endif
