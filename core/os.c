/* For what, threads and failure: os.h. */
#include "os.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *direct_mmap(void *at, size_t bytes, int prot, int flags, int fd, long offset) {
#ifdef __s390x__ /* where it takes the address of its arguments */
    unsigned long six[] = {(unsigned long)at,   bytes,
                           (unsigned long)prot, (unsigned long)flags,
                           (unsigned long)fd,   (unsigned long)offset};
    return (void *)syscall(SYS_mmap, six);
#else
    return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
#endif
}
static int direct_munmap(void *at, size_t bytes) { return (int)syscall(SYS_munmap, at, bytes); }
static int direct_madvise(void *at, size_t bytes, int advice) {
    return (int)syscall(SYS_madvise, at, bytes, advice);
}
static void *direct_mremap(void *at, size_t old_bytes, size_t new_bytes, int flags, ...) {
    __builtin_va_list args;
    __builtin_va_start(args, flags);
    void *to = flags & MREMAP_FIXED ? __builtin_va_arg(args, void *) : NULL;
    __builtin_va_end(args);
    return (void *)syscall(SYS_mremap, at, old_bytes, new_bytes, flags, to);
}

struct os_calls os_calls = {direct_mmap, direct_munmap, direct_madvise, direct_mremap, NULL};
size_t os_page_bytes = PAGE_BYTES;
bool os_keep_huge_pages;
bool os_return_lazily;
_Atomic(bool) os_is_filtered;

/* Where what is zero at start lies; the linker knows. */
extern HIDDEN char __bss_start[], _end[];

/* Tables there are sparse, and longer than a huge page: where the system has these everywhere, the
 * first word written would make one resident. A direct call, since a wrapper may allocate, for
 * which it is too early. */
static void keep_tables_sparse(void) {
    uintptr_t mask = os_page_bytes - 1, begin = ((uintptr_t)__bss_start + mask) & ~mask;
    uintptr_t end = ((uintptr_t)_end + mask) & ~mask;
    int saved = errno;
    if (begin < end) direct_madvise((void *)begin, end - begin, MADV_NOHUGEPAGE);
    errno = saved;
}

void os_init(void) {
    size_t page = getauxval(AT_PAGESZ);
    if (page >= PAGE_BYTES) os_page_bytes = page;
    keep_tables_sparse();
}

static uintptr_t map_anywhere(size_t bytes, uintptr_t hint) {
    void *p = os_calls.mmap((void *)hint, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? 0 : (uintptr_t)p;
}

/* khugepaged fills the holes that releasing pages made; so the heap does without huge pages. */
static uintptr_t without_huge_pages(uintptr_t base, size_t bytes) {
    if (base && !os_keep_huge_pages) os_calls.madvise((void *)base, bytes, MADV_NOHUGEPAGE);
    return base;
}

/* What the kernel did not take back, linked through the ranges themselves. */
struct owed {
    struct owed *next;
    size_t bytes;
};
static _Atomic(struct owed *) owed;

static void owe(struct owed *range, size_t bytes) {
    range->bytes = bytes;
    range->next = atomic_load(&owed);
    while (!atomic_compare_exchange_weak(&owed, &range->next, range)) continue;
}

void os_discard(uintptr_t base, size_t bytes) {
    if (!bytes || os_unmap(base, bytes)) return;
    os_release(base, bytes);
    owe((struct owed *)base, bytes);
}

bool os_unmap_owed(void) {
    bool any = false;
    struct owed *next, *range = relaxed_load(&owed) ? atomic_exchange(&owed, NULL) : NULL;
    for (; range; range = next) {
        size_t bytes = range->bytes;
        next = range->next;
        if (os_unmap((uintptr_t)range, bytes))
            any = true;
        else
            owe(range, bytes);
    }
    return any;
}

uintptr_t os_map(size_t bytes, size_t alignment, uintptr_t hint) {
    int saved = errno;
    uintptr_t base = map_anywhere(bytes, hint);
    if (base & (alignment - 1)) { /* the hint was taken: map more and cut */
        os_discard(base, bytes);
        size_t slack = alignment - os_page_bytes;
        uintptr_t wide = bytes + slack < bytes ? 0 : map_anywhere(bytes + slack, 0);
        if (wide) {
            base = (wide + alignment - 1) & ~(uintptr_t)(alignment - 1);
            os_discard(wide, base - wide);
            os_discard(base + bytes, wide + slack - base);
        } else
            base = 0;
    }
    base = without_huge_pages(base, bytes);
    errno = saved;
    return base;
}

bool os_unmap(uintptr_t base, size_t bytes) {
    int saved = errno;
    bool done = os_calls.munmap((void *)base, bytes) == 0;
    errno = saved;
    return done;
}

bool os_release(uintptr_t base, size_t bytes) {
    int saved = errno;
    bool done =
        os_calls.madvise((void *)base, bytes, os_return_lazily ? MADV_FREE : MADV_DONTNEED) == 0;
    errno = saved;
    return done;
}

/* How many of the first ranges one call released. */
static unsigned release_together(const struct iovec *ranges, unsigned n) {
    if (n < 2 || !os_calls.release_ranges || os_return_lazily) return 0;
    int saved = errno;
    long bytes = os_calls.release_ranges(ranges, n);
    errno = saved;
    unsigned done = 0;
    for (; done < n && bytes >= (long)ranges[done].iov_len; done++)
        bytes -= (long)ranges[done].iov_len;
    return done;
}

uint64_t os_release_ranges(const struct iovec *ranges, unsigned n) {
    uint64_t done = 0;
    for (unsigned i = 0; i < n;) {
        unsigned together = release_together(ranges + i, n - i);
        if (together)
            done |= bit_run(i, together);
        else if (os_release((uintptr_t)ranges[i].iov_base, ranges[i].iov_len))
            done |= 1ull << i;
        i += together ? together : 1;
    }
    return done;
}

bool os_resize_in_place(uintptr_t base, size_t old_bytes, size_t new_bytes) {
    int saved = errno;
    bool done = os_calls.mremap((void *)base, old_bytes, new_bytes, 0) != MAP_FAILED;
    errno = saved;
    return done;
}

/* Ranges side by side that the kernel did not join cannot be moved in one call. Nor can they be
 * lengthened, and with that it refuses them by an error of their own; a whole one it refuses to
 * lengthen over the main thread's stack, at the upper end. A direct call, since nothing changes. */
static bool is_one_mapping(uintptr_t base, size_t bytes) {
    size_t too_long = ((size_t)1 << ADDRESS_BITS) - os_page_bytes;
    return direct_mremap((void *)base, bytes, too_long, 0) != MAP_FAILED || errno != EFAULT;
}

/* Kernels before 6.17 unmap the target before they look at `from`. What another thread maps into
 * the hole would be taken for the target, so that what they would refuse is not tried. */
bool os_move(uintptr_t from, size_t from_bytes, uintptr_t to, size_t to_bytes) {
    int saved = errno;
    bool done = is_one_mapping(from, from_bytes) &&
                os_calls.mremap((void *)from, from_bytes, to_bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                                (void *)to) != MAP_FAILED;
    errno = saved;
    return done;
}

void *os_map_file(int fd, size_t bytes) {
    int saved = errno;
    void *p = direct_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    errno = saved;
    return p == MAP_FAILED ? NULL : p;
}

void os_unmap_file(void *base, size_t bytes) {
    int saved = errno;
    direct_munmap(base, bytes);
    errno = saved;
}

bool os_open(uintptr_t base, size_t bytes, bool is_open) {
    int saved = errno;
    bool done = !mprotect((void *)base, bytes, is_open ? PROT_READ | PROT_WRITE : PROT_NONE);
    errno = saved;
    return done;
}

/* By the same question, and not by mincore, which a seccomp filter may kill for. */
bool os_is_mapped(uintptr_t base) {
    int saved = errno;
    bool is_mapped = is_one_mapping(base, os_page_bytes);
    errno = saved;
    return is_mapped;
}
