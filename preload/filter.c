/* Sees a seccomp filter coming, which may kill whoever opens a file or makes a rare system call:
 * from then on policy reads nothing more about the machine, and pages go back one call at a time.
 *
 * A filter is installed with prctl, or with the seccomp system call after
 * prctl(PR_SET_NO_NEW_PRIVS), which only root can do without.
 */
#include "preload.h"

#include "../core/os.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <sys/prctl.h>

EXPORT int prctl(int what, ...) {
    static int (*libc_prctl)(int, ...);
    unsigned long argument[4];
    va_list args;
    va_start(args, what);
    for (int i = 0; i < 4; i++) argument[i] = va_arg(args, unsigned long);
    va_end(args);
    if (what == PR_SET_SECCOMP || what == PR_SET_NO_NEW_PRIVS) atomic_store(&os_is_filtered, true);
    if (!libc_prctl) *(void **)&libc_prctl = dlsym(RTLD_NEXT, "prctl");
    return libc_prctl(what, argument[0], argument[1], argument[2], argument[3]);
}
