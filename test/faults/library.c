/* A library that allocates; opened with RTLD_DEEPBIND its calls reach libc's allocator instead of the preloaded one. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

void *library_take(size_t bytes) { return malloc(bytes); }
void *library_take_zero(size_t bytes) { return calloc(1, bytes); }
void *library_take_aligned(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void library_give(void *p) { free(p); }
char *library_copy(const char *text) { return strdup(text); }
