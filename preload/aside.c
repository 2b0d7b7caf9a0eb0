/* Where the library has no business: it takes itself out of LD_PRELOAD.
 *
 * A sanitizer's runtime has to be malloc itself, and ends or crashes under another: the program is
 * started again without this library, before its main. valgrind's tools put theirs in malloc's
 * place, so there is nothing to do; nor in a program whose executable brings its own.
 */
#include "preload.h"

#include "../core/core.h"
#include "../core/pagemap.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The list is separated by spaces or colons, and changed in place. */
bool aside_leave_preload(char **envp) {
    Dl_info self;
    if (!dladdr((void *)aside_leave_preload, &self)) return false;
    for (; *envp; envp++) {
        if (strncmp(*envp, "LD_PRELOAD=", 11)) continue;
        char *list = *envp + 11, *item = strstr(list, self.dli_fname);
        if (!item) return false;
        char *rest = item + strlen(self.dli_fname);
        rest += strspn(rest, " :");
        memmove(item, rest, strlen(rest) + 1);
        return true;
    }
    return false;
}

/* Of all runtimes only those with an allocator know this function. */
void aside_from_sanitizer(char **argv, char **envp) {
    char path[PATH_MAX];
    if (!dlsym(RTLD_DEFAULT, "__sanitizer_get_heap_size") || !aside_leave_preload(envp)) return;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    report_line("stands aside: the program has a sanitizer, whose malloc it needs");
    execve(path, argv, envp);
}

bool aside_from_other_malloc(void) {
    void *(*program_malloc)(size_t), (*program_free)(void *);
    *(void **)&program_malloc = dlsym(RTLD_DEFAULT, "malloc");
    *(void **)&program_free = dlsym(RTLD_DEFAULT, "free");
    if (!program_malloc || !program_free) return false;
    void *block = program_malloc(1);
    bool is_other = block && pagemap_class((uintptr_t)block) == CLASS_NONE;
    program_free(block);
    return is_other;
}
