/* A kernel with larger pages, as far as a process can tell by its calls. Preloaded behind the allocator, which finds these as the next
 * in link order; COARSE_KIB, at compile time, is the page: 16 or 64. Addresses that are not multiples of it are refused, lengths are rounded up, and
 * what is mapped begins and ends with it. What a page's first use makes resident stays 4 KiB. */
#define _GNU_SOURCE
#include "../inject/direct.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static const size_t page_bytes = COARSE_KIB << 10;

static long rounded(size_t bytes) { return (long)((bytes + page_bytes - 1) & ~(page_bytes - 1)); }

/* True, and errno is set. */
static int is_crooked(const void *at) {
    if (((uintptr_t)at & (page_bytes - 1)) == 0) return 0;
    errno = EINVAL;
    return 1;
}

static int unmap(long at, long bytes) { return bytes ? (int)direct(SYS_munmap, at, bytes, 0, 0, 0, 0) : 0; }

/* Whole pages, at the hint if it is free. */
static long reserve(void *hint, size_t bytes) {
    long page = (long)page_bytes, whole = rounded(bytes);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (whole < (long)bytes) return direct(SYS_mmap, 0, (long)bytes, PROT_NONE, flags, -1, 0);
    long at = direct(SYS_mmap, (long)hint, whole, PROT_NONE, flags, -1, 0);
    if (at == -1 || at % page == 0) return at;
    unmap(at, whole);
    at = direct(SYS_mmap, 0, whole + page, PROT_NONE, flags, -1, 0);
    if (at == -1) return at;
    long from = rounded((size_t)at);
    unmap(at, from - at);
    unmap(from + whole, at + page - from);
    return from;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
        if (is_crooked(at)) return MAP_FAILED;
        return (void *)direct(SYS_mmap, (long)at, fd < 0 ? rounded(bytes) : (long)bytes, prot, flags, fd, offset);
    }
    long to = reserve((void *)((uintptr_t)at & ~(page_bytes - 1)), bytes);
    if (to == -1) return MAP_FAILED;
    long got = direct(SYS_mmap, to, fd < 0 ? rounded(bytes) : (long)bytes, prot, flags | MAP_FIXED, fd, offset);
    int error = errno;
    if (got == -1) unmap(to, rounded(bytes));
    errno = error;
    return (void *)got;
}
void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) __attribute__((alias("mmap")));

int munmap(void *at, size_t bytes) { return is_crooked(at) ? -1 : (int)direct(SYS_munmap, (long)at, rounded(bytes), 0, 0, 0, 0); }
int madvise(void *at, size_t bytes, int advice) {
    return is_crooked(at) ? -1 : (int)direct(SYS_madvise, (long)at, rounded(bytes), advice, 0, 0, 0);
}
int mprotect(void *at, size_t bytes, int prot) {
    return is_crooked(at) ? -1 : (int)direct(SYS_mprotect, (long)at, rounded(bytes), prot, 0, 0, 0);
}

int mincore(void *at, size_t bytes, unsigned char *resident) {
    if (is_crooked(at)) return -1;
    for (size_t done = 0; done < bytes; done += page_bytes) {
        unsigned char small[16], any = 0;
        if (direct(SYS_mincore, (long)at + (long)done, (long)page_bytes, (long)small, 0, 0, 0)) return -1;
        for (size_t i = 0; i < page_bytes / 4096; i++) any |= small[i];
        *resident++ = any;
    }
    return 0;
}

void *mremap(void *at, size_t old_bytes, size_t bytes, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    void *to = va_arg(rest, void *);
    va_end(rest);
    if (is_crooked(at) || (flags & MREMAP_FIXED && is_crooked(to))) return MAP_FAILED;
    long in_place = flags & MREMAP_FIXED ? -1 : direct(SYS_mremap, (long)at, rounded(old_bytes), rounded(bytes), 0, 0, 0);
    if (in_place != -1 || !(flags & MREMAP_MAYMOVE)) return (void *)in_place;
    if (!(flags & MREMAP_FIXED) && (long)(to = (void *)reserve(NULL, bytes)) == -1) return MAP_FAILED;
    return (void *)direct(SYS_mremap, (long)at, rounded(old_bytes), rounded(bytes), flags | MREMAP_FIXED, (long)to, 0);
}

long syscall(long number, ...) {
    va_list rest;
    long a[6];
    va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(rest, long);
    va_end(rest);
    switch (number) {
    case SYS_mmap: return (long)mmap((void *)a[0], (size_t)a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
    case SYS_munmap: return munmap((void *)a[0], (size_t)a[1]);
    case SYS_madvise: return madvise((void *)a[0], (size_t)a[1], (int)a[2]);
    case SYS_mremap: return (long)mremap((void *)a[0], (size_t)a[1], (size_t)a[2], (int)a[3], (void *)a[4]);
    default: return direct(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

unsigned long getauxval(unsigned long type) {
    if (type == AT_PAGESZ) return page_bytes;
    return ((unsigned long (*)(unsigned long))dlsym(RTLD_NEXT, "getauxval"))(type);
}
long sysconf(int name) {
    if (name == _SC_PAGESIZE) return (long)page_bytes;
    return ((long (*)(int))dlsym(RTLD_NEXT, "sysconf"))(name);
}
int getpagesize(void) { return (int)page_bytes; }
