/* The program's own mappings: passed on as they are and counted, never redirected or cached. Before
 * a large one is granted while memory is short, the heap gives back what it retains.
 *
 * The count is of bytes mapped less bytes unmapped through these calls; what libc maps for itself
 * (thread stacks, stdio) does not come by here. munmap of addresses that were never mapped, or
 * twice, makes it too small; it stops at zero.
 */
#include "preload.h"

#include "../core/core.h"
#include "../trim-policy/policy.h"

#include <stdarg.h>
#include <sys/mman.h>

static void count_program(int64_t bytes) {
    int64_t now = count_add(&counters.program_bytes, bytes);
    if (now < 0) count_add(&counters.program_bytes, -now);
}

static int64_t whole_pages(size_t bytes) { return (int64_t)os_round_up(bytes); }

EXPORT void *mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset) {
    if (flags & MAP_ANONYMOUS) policy_before_mapping(bytes);
    if (flags == (MAP_PRIVATE | MAP_ANONYMOUS))
        python_sees_mapping(bytes, __builtin_return_address(0));
    void *p = os_calls.mmap(at, bytes, prot, flags, fd, offset);
    if (p != MAP_FAILED) count_program(whole_pages(bytes));
    return p;
}
EXPORT void *mmap64(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
    ALIAS_OF(mmap);

EXPORT int munmap(void *at, size_t bytes) {
    int result = os_calls.munmap(at, bytes);
    if (!result) count_program(-whole_pages(bytes));
    return result;
}

EXPORT void *mremap(void *at, size_t old_bytes, size_t new_bytes, int flags, ...) {
    void *to = NULL;
    if (flags & MREMAP_FIXED) {
        va_list args;
        va_start(args, flags);
        to = va_arg(args, void *);
        va_end(args);
    }
    void *p = os_calls.mremap(at, old_bytes, new_bytes, flags, to);
    if (p != MAP_FAILED) count_program(whole_pages(new_bytes) - whole_pages(old_bytes));
    return p;
}

EXPORT int madvise(void *at, size_t bytes, int advice) {
    return os_calls.madvise(at, bytes, advice);
}
