/* A library whose wrappers of open, mmap and munmap look up what they wrap at the first call, and allocate: what registration
 * caches and tracers do. Preloaded before and after the allocator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>

/* The wrapper's own allocations may come by here again. Volatile: libc's headers promise that malloc does not call back into this file. */
static _Thread_local volatile int depth;

static void allocate(void) {
    if (depth) return;
    depth = 1;
    free(malloc(100));
    free(malloc(5000));
    free(realloc(calloc(1, 200000), 700000));
    depth = 0;
}

static void *next(void **function, const char *name) {
    if (!*function) *function = dlsym(RTLD_NEXT, name);
    return *function;
}

void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    static void *function;
    void *(*real)(void *, size_t, int, int, int, off_t) = (void *(*)(void *, size_t, int, int, int, off_t))next(&function, "mmap");
    void *p = real(at, bytes, prot, flags, fd, offset);
    allocate();
    return p;
}

int munmap(void *at, size_t bytes) {
    static void *function;
    int (*real)(void *, size_t) = (int (*)(void *, size_t))next(&function, "munmap");
    allocate();
    int result = real(at, bytes);
    allocate();
    return result;
}

int madvise(void *at, size_t bytes, int advice) {
    static void *function;
    int (*real)(void *, size_t, int) = (int (*)(void *, size_t, int))next(&function, "madvise");
    allocate();
    return real(at, bytes, advice);
}

int open(const char *path, int flags, ...) {
    static void *function;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(&function, "open");
    va_list rest;
    va_start(rest, flags);
    int mode = va_arg(rest, int);
    va_end(rest);
    allocate();
    return real(path, flags, mode);
}
