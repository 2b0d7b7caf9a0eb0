/* For what: door.h. */
#include "door.h"

#include "../../core/os.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

struct door door;

static bool is_refused(unsigned call) {
    static bool is_inside;
    if (door.on_call && !is_inside) {
        is_inside = true;
        door.on_call();
        is_inside = false;
    }
    if (!door.refuse[call]) return false;
    if (door.skip[call]) {
        door.skip[call]--;
        return false;
    }
    if (door.refuse[call] != UINT32_MAX) door.refuse[call]--;
    door.refused[call]++;
    errno = door.error;
    return true;
}

static void *door_mmap(void *at, size_t bytes, int prot, int flags, int fd, long offset) {
    if (is_refused(DOOR_MMAP)) return MAP_FAILED;
    void *p = mmap(at, bytes, prot, flags, fd, offset);
    if (p != MAP_FAILED) door.mapped_bytes += (int64_t)bytes;
    return p;
}

static int door_munmap(void *at, size_t bytes) {
    if (is_refused(DOOR_MUNMAP)) return -1;
    int result = munmap(at, bytes);
    if (!result) door.mapped_bytes -= (int64_t)bytes;
    return result;
}

static int door_madvise(void *at, size_t bytes, int advice) {
    return is_refused(DOOR_MADVISE) ? -1 : madvise(at, bytes, advice);
}

static void *door_mremap(void *at, size_t old_bytes, size_t bytes, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    if (is_refused(DOOR_MREMAP)) {
        if (to && door.takes_target) door.has_torn |= !munmap(to, bytes);
        return MAP_FAILED;
    }
    void *p = mremap(at, old_bytes, bytes, flags, to);
    /* A move replaces a mapping that was counted when it was made. */
    if (p != MAP_FAILED) door.mapped_bytes += (to ? 0 : (int64_t)bytes) - (int64_t)old_bytes;
    return p;
}

/* As process_madvise: the bytes before the first range that was refused. */
static long door_release_ranges(const struct iovec *ranges, unsigned n) {
    long done = 0;
    if (!door.in_one_call) return -1;
    for (unsigned i = 0; i < n; i++) {
        if (is_refused(DOOR_RANGES) || madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED)) break;
        done += (long)ranges[i].iov_len;
    }
    return done ? done : -1;
}

int __real_mprotect(void *at, size_t bytes, int prot);
int __wrap_mprotect(void *at, size_t bytes, int prot);
int __wrap_mprotect(void *at, size_t bytes, int prot) {
    return is_refused(DOOR_MPROTECT) ? -1 : __real_mprotect(at, bytes, prot);
}

void door_install(void) {
    os_calls = (struct os_calls){door_mmap, door_munmap, door_madvise, door_mremap, door_release_ranges};
}

void door_lift(void) {
    memset(door.skip, 0, sizeof door.skip);
    memset(door.refuse, 0, sizeof door.refuse);
}
