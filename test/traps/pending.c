/* Messages of dlerror's. At the start there is none: the library has looked for symbols, too. One of the program's that waits to be freed,
 * as in any process that looked for a symbol in vain, libc frees inside the next dlsym: a slow path that calls dlsym frees it once more,
 * in the middle of itself. */
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <sys/wait.h>

enum { MOST_FREED = 32, BLOCKS = 20000 };

/* Frees so many blocks of the message's size, so that in one of the children the message finds its magazine full, and then
 * enough of another size for many runs of pages to be released together for the first time. */
static void release_with_message(int freed) {
    static void *same[MOST_FREED], *block[BLOCKS];
    size_t bytes = strlen("./pending: undefined symbol: no_such_symbol") + 16;
    for (int i = 0; i < MOST_FREED; i++) CHECK(same[i] = malloc(bytes));
    for (int i = 0; i < BLOCKS; i++) CHECK(block[i] = memset(malloc(1000), 1, 1000));
    CHECK(!dlsym(RTLD_DEFAULT, "no_such_symbol"));
    for (int i = 0; i < freed; i++) free(same[i]);
    for (int part = 0; part < 2; part++) /* a hole between any two runs */
        for (int i = 0; i < BLOCKS; i++)
            if (i / 16 % 2 == part) free(block[i]);
    const char *message = dlerror();
    CHECK(message && strstr(message, "no_such_symbol"));
    malloc_trim(0);
}

int main(void) {
    CHECK(!dlerror());
    for (int freed = 0; freed <= MOST_FREED; freed++) {
        int status;
        pid_t child = fork();
        if (!child) {
            release_with_message(freed);
            _exit(0);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    puts("ok");
    return 0;
}
