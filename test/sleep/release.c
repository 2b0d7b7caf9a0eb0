/* A library whose munmap and releasing madvise can be told to call somebody first, or to fail.
 * Preloaded behind lowtide, whose releases go through it: so a test can act in the middle of a
 * give-back. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void (*release_hook)(void);
int release_refuses;

static int begin(void) {
    void (*hook)(void) = __atomic_exchange_n(&release_hook, NULL, __ATOMIC_SEQ_CST);
    if (hook) hook();
    if (release_refuses) errno = EINVAL;
    return release_refuses;
}

int munmap(void *at, size_t bytes) { return begin() ? -1 : (int)syscall(SYS_munmap, at, bytes); }
int madvise(void *at, size_t bytes, int advice) {
    bool is_release = advice == MADV_DONTNEED || advice == MADV_FREE;
    return is_release && begin() ? -1 : (int)syscall(SYS_madvise, at, bytes, advice);
}
