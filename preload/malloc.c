/* The interposed family of malloc. Semantics are glibc's where the standards leave a choice; the
 * work is core's.
 *
 * reallocarray, strdup and the like are left to libc, which calls these.
 */
#include "preload.h"

#include "../core/core.h"

EXPORT void *malloc(size_t bytes) { return core_malloc(bytes); }
EXPORT void free(void *p) { core_free(p); }
EXPORT void *calloc(size_t count, size_t bytes) { return core_calloc(count, bytes); }
EXPORT void *realloc(void *p, size_t bytes) { return core_realloc(p, bytes); }

static void *no_memory(int error) {
    errno = error;
    return NULL;
}

static bool is_power_of_two(size_t n) { return n && !(n & (n - 1)); }

/* As glibc: an alignment that is no power of two is rounded up to the next, if there is one. */
EXPORT void *memalign(size_t alignment, size_t bytes) {
    if (alignment > SIZE_MAX / 2 + 1) return no_memory(EINVAL);
    size_t power = 16;
    while (power < alignment) power *= 2;
    return core_memalign(power, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes) {
    if (alignment % sizeof(void *) || !is_power_of_two(alignment)) return EINVAL;
    int saved = errno;
    void *p = core_memalign(alignment, bytes);
    errno = saved;
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

EXPORT void *valloc(size_t bytes) {
    core_init();
    return core_memalign(os_page_bytes, bytes);
}

EXPORT void *pvalloc(size_t bytes) {
    core_init();
    if (bytes > PTRDIFF_MAX) return no_memory(ENOMEM);
    return core_memalign(os_page_bytes, os_round_up(bytes));
}

EXPORT size_t malloc_usable_size(void *p) { return core_usable_bytes(p); }
EXPORT void cfree(void *p) { core_free(p); }

/* C23: the sizes are what the program said at the allocation. */
EXPORT void free_sized(void *p, size_t bytes) {
    if (p && !core_may_have_asked(p, bytes)) report_misuse("sized free with a wrong size", p);
    core_free(p);
}
EXPORT void free_aligned_sized(void *p, size_t alignment, size_t bytes) {
    if (alignment && (uintptr_t)p & (alignment - 1))
        report_misuse("sized free with a wrong alignment", p);
    free_sized(p, bytes);
}

EXPORT int malloc_trim(size_t keep_bytes) { return core_trim(keep_bytes); }

/* glibc exports these under second names, and some programs call them. */
EXPORT void *__libc_malloc(size_t bytes) ALIAS_OF(malloc);
EXPORT void __libc_free(void *p) ALIAS_OF(free);
EXPORT void *__libc_calloc(size_t count, size_t bytes) ALIAS_OF(calloc);
EXPORT void *__libc_realloc(void *p, size_t bytes) ALIAS_OF(realloc);
EXPORT void *__libc_memalign(size_t alignment, size_t bytes) ALIAS_OF(memalign);
EXPORT void *__libc_valloc(size_t bytes) ALIAS_OF(valloc);
EXPORT void *__libc_pvalloc(size_t bytes) ALIAS_OF(pvalloc);
EXPORT int __posix_memalign(void **out, size_t alignment, size_t bytes) ALIAS_OF(posix_memalign);
