/* Refuses calls to the kernel's memory functions. Preloaded behind the allocator, which finds these as the next in link order.
 *
 *   INJECT=CALL:N:once:ERRNO    the Nth call of CALL is refused
 *   INJECT=CALL:N:on:ERRNO      it and all that follow
 *
 * CALL: mmap, munmap, madvise, mremap, mprotect, process_madvise, or all; ERRNO: ENOMEM, EAGAIN, EINVAL. Calls are counted and refused
 * between inject_begin and inject_lift, which the program under test finds with dlsym. Compiled with BATCH the library leaves madvise to
 * libc and wraps syscall instead: the allocator makes process_madvise only where nobody watches madvise. */
#define _GNU_SOURCE
#include "direct.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MMAP, MUNMAP, MADVISE, MREMAP, MPROTECT, PROCESS_MADVISE, CALLS, ALL = CALLS };
static const char *const names[] = {"mmap", "munmap", "madvise", "mremap", "mprotect", "process_madvise", "all"};
static long made[CALLS + 1], refused;
static long first;
static int call = -1, error;
static bool is_on, is_active;

static int errno_named(const char *name) { return !strcmp(name, "ENOMEM") ? ENOMEM : !strcmp(name, "EAGAIN") ? EAGAIN : EINVAL; }

void inject_begin(void) {
    char which[32], how[8], what[16];
    const char *text = getenv("INJECT");
    if (text && sscanf(text, "%31[^:]:%ld:%7[^:]:%15s", which, &first, how, what) == 4) {
        for (call = 0; call < ALL && strcmp(which, names[call]); call++) continue;
        is_on = !strcmp(how, "on");
        error = errno_named(what);
    }
    is_active = true;
}

void inject_lift(void) {
    is_active = false;
    if (!getenv("INJECT_COUNTS")) return;
    for (int i = 0; i <= ALL; i++) dprintf(STDOUT_FILENO, "%s=%ld\n", names[i], made[i]);
    dprintf(STDOUT_FILENO, "refused=%ld\n", refused);
}

static bool is_refused(int which) {
    if (!is_active) return false;
    long n = __atomic_add_fetch(&made[which], 1, __ATOMIC_RELAXED), of_all = __atomic_add_fetch(&made[ALL], 1, __ATOMIC_RELAXED);
    if (call == ALL) n = of_all;
    if ((which != call && call != ALL) || (is_on ? n < first : n != first)) return false;
    __atomic_add_fetch(&refused, 1, __ATOMIC_RELAXED);
    errno = error;
    return true;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    return is_refused(MMAP) ? MAP_FAILED : (void *)direct(SYS_mmap, (long)at, (long)bytes, prot, flags, fd, offset);
}
int munmap(void *at, size_t bytes) { return is_refused(MUNMAP) ? -1 : (int)direct(SYS_munmap, (long)at, (long)bytes, 0, 0, 0, 0); }
int mprotect(void *at, size_t bytes, int prot) {
    return is_refused(MPROTECT) ? -1 : (int)direct(SYS_mprotect, (long)at, (long)bytes, prot, 0, 0, 0);
}
void *mremap(void *at, size_t old_bytes, size_t bytes, int flags, ...) {
    __builtin_va_list rest;
    __builtin_va_start(rest, flags);
    void *to = __builtin_va_arg(rest, void *);
    __builtin_va_end(rest);
    return is_refused(MREMAP) ? MAP_FAILED : (void *)direct(SYS_mremap, (long)at, (long)old_bytes, (long)bytes, flags, (long)to, 0);
}

#ifndef BATCH
int madvise(void *at, size_t bytes, int advice) {
    return is_refused(MADVISE) ? -1 : (int)direct(SYS_madvise, (long)at, (long)bytes, advice, 0, 0, 0);
}
#else
long syscall(long number, ...) {
    __builtin_va_list rest;
    long a[6];
    __builtin_va_start(rest, number);
    for (int i = 0; i < 6; i++) a[i] = __builtin_va_arg(rest, long);
    __builtin_va_end(rest);
    if (number == SYS_process_madvise && is_refused(PROCESS_MADVISE)) return -1;
    return direct(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
#endif
