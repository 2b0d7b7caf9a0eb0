/* A library whose wrappers of open, mmap and munmap look up what they wrap at the first call, and allocate: what registration
 * caches and tracers do. Those of the mutexes cannot be called while its constructor is at work, which allocates, as with
 * sanitizers. Preloaded before and after the allocator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
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

/* Lookups in vain allocate. */
static volatile bool is_starting;
__attribute__((constructor(101))) static void start(void) {
    is_starting = true;
    dlsym(RTLD_DEFAULT, "no_such_symbol");
    free(malloc(100));
    is_starting = false;
}

static void *next_mutex_call(void **function, const char *name) {
    if (is_starting) abort();
    allocate();
    return next(function, name);
}

#define WRAP_MUTEX_CALL(name)                                                                      \
    int name(pthread_mutex_t *m) {                                                                 \
        static void *function;                                                                     \
        return ((int (*)(pthread_mutex_t *))next_mutex_call(&function, #name))(m);                 \
    }
WRAP_MUTEX_CALL(pthread_mutex_lock)
WRAP_MUTEX_CALL(pthread_mutex_trylock)
WRAP_MUTEX_CALL(pthread_mutex_unlock)

int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *how) {
    static void *function;
    return ((int (*)(pthread_mutex_t *, const pthread_mutexattr_t *))next_mutex_call(&function, "pthread_mutex_init"))(m, how);
}
