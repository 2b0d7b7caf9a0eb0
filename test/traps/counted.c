/* Counts what leaves the address space by the calls it wraps, as a registration cache must see it. Preloaded after the allocator,
 * and without allocating; counted_start and counted_stop leave a munmap of length 0 in a trace of system calls. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

long counted_munmaps, counted_madvises, counted_mremaps, counted_mmaps;

void counted_start(void) {
    counted_munmaps = counted_madvises = counted_mremaps = counted_mmaps = 0;
    syscall(SYS_munmap, 0x111000, 0);
}
void counted_stop(void) { syscall(SYS_munmap, 0x222000, 0); }

int munmap(void *at, size_t bytes) {
    __atomic_fetch_add(&counted_munmaps, 1, __ATOMIC_RELAXED);
    return (int)syscall(SYS_munmap, at, bytes);
}
int madvise(void *at, size_t bytes, int advice) {
    __atomic_fetch_add(&counted_madvises, 1, __ATOMIC_RELAXED);
    return (int)syscall(SYS_madvise, at, bytes, advice);
}
void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    __atomic_fetch_add(&counted_mmaps, 1, __ATOMIC_RELAXED);
    return (void *)syscall(SYS_mmap, at, bytes, prot, flags, fd, offset);
}
void *mremap(void *at, size_t old_bytes, size_t bytes, int flags, ...) {
    __builtin_va_list rest;
    __builtin_va_start(rest, flags);
    void *to = __builtin_va_arg(rest, void *);
    __builtin_va_end(rest);
    __atomic_fetch_add(&counted_mremaps, 1, __ATOMIC_RELAXED);
    return (void *)syscall(SYS_mremap, at, old_bytes, bytes, flags, to);
}
