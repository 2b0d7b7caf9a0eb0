/* A library that calls libc's own allocator, past the preloaded one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void *libcs(const char *name) { return dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), name); }

void *library_take(size_t bytes) {
    void *(*take)(size_t) = libcs("malloc");
    return take(bytes);
}
void *library_take_zero(size_t bytes) {
    void *(*take)(size_t, size_t) = libcs("calloc");
    return take(1, bytes);
}
void *library_take_aligned(size_t alignment, size_t bytes) {
    void *(*take)(size_t, size_t) = libcs("memalign");
    return take(alignment, bytes);
}
void library_give(void *p) {
    void (*give)(void *) = libcs("free");
    give(p);
}
char *library_copy(const char *text) { return strdup(text); }
