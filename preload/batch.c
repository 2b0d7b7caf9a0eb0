/* Many releases in one system call: process_madvise of the process on itself, which Linux allows
 * with MADV_DONTNEED since 6.13, and for which it interrupts the other cores once since 6.16.
 *
 * Not where somebody watches madvise, as the registration caches of network libraries do, by a
 * function of that name or by patching libc's code: they would not hear of it. And not where a
 * seccomp filter is at work, which may kill for a system call it does not know.
 */
#include "preload.h"

#include "../core/os.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { THIS_PROCESS = -10000 }; /* PIDFD_SELF_THREAD_GROUP, since 6.14 */

static uint64_t madvise_code; /* how libc's begins */
static _Atomic(int) state;    /* of the system call */
enum { UNTRIED, WORKS, MUST_NOT };

static long release_ranges(const struct iovec *ranges, unsigned n) {
#ifdef SYS_process_madvise
    return syscall(SYS_process_madvise, THIS_PROCESS, ranges, (size_t)n, MADV_DONTNEED, 0u);
#else
    (void)ranges, (void)n;
    return -1;
#endif
}

/* Not libc's prctl, which is interposed and looked up with dlsym, and that may free a message of
 * dlerror's: this is the middle of a slow path, perhaps that of the very same free.
 */
static bool is_unfiltered(void) { return syscall(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0) == 0; }

/* Of no bytes: older kernels refuse that, too. */
static bool try_once(void) {
    bool works = is_unfiltered() && !release_ranges(&(struct iovec){0}, 1);
    int expected = UNTRIED;
    atomic_compare_exchange_strong(&state, &expected, works ? WORKS : MUST_NOT);
    return relaxed_load(&state) == WORKS;
}

static bool is_patched(void) {
    return memcmp(&madvise_code, (const void *)os_calls.madvise, sizeof madvise_code) != 0;
}

static long release_together(const struct iovec *ranges, unsigned n) {
    int known = relaxed_load(&os_is_filtered) ? MUST_NOT : relaxed_load(&state);
    bool works = known == WORKS || (known == UNTRIED && try_once());
    return works && !is_patched() ? release_ranges(ranges, n) : -1;
}

void batch_init(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *own = libc ? dlsym(libc, "madvise") : NULL;
    if (!own || own != (void *)os_calls.madvise) return;
    memcpy(&madvise_code, own, sizeof madvise_code);
    os_calls.release_ranges = release_together;
}
