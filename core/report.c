#include "report.h"

#include "line.h"
#include "os.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_SECONDS = 3 };

/* Whether a line may be written now, without SIGPIPE where nobody reads, and without waiting for
 * ever where nobody goes on reading. All by direct system calls: libc's may be interposed. */
static bool can_write(void) {
    struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};
    struct timespec most = {.tv_sec = WAIT_SECONDS};
    uint64_t pipe = 1ull << (SIGPIPE - 1), all = ~0ull;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &pipe, NULL, sizeof pipe);
    return relaxed_load(&os_is_filtered) ||
           syscall(SYS_ppoll, &to, 1, &most, &all, sizeof all) != 0;
}

void report_misuse(const char *what, const void *pointer) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: ");
    line_add(&line, what);
    line_add(&line, ": pointer 0x");
    line_add_number(&line, (uintptr_t)pointer, 16);
    if (!relaxed_load(&os_is_filtered)) {
        line_add(&line, " (pid ");
        line_add_number(&line, (uint64_t)getpid(), 10);
        line_add(&line, ")");
    }
    if (can_write()) line_write(&line);
    abort();
}

void report_line(const char *text) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: ");
    line_add(&line, text);
    line_write(&line);
}
