/* The options: each line of the input is an entry of the environment. Linked so that write comes here. */
#include "fuzz.h"

#include "../../trim-policy/options.h"

#include <unistd.h>

enum { ENTRIES = 16, BYTES = 1024 };

/* One line each, without control characters, that names a variable. */
ssize_t __wrap_write(int fd, const void *from, size_t bytes);
ssize_t __wrap_write(int fd, const void *from, size_t bytes) {
    const char *line = from;
    must(fd == STDERR_FILENO && bytes > 0 && bytes <= 512 && line[bytes - 1] == '\n');
    for (size_t i = 0; i + 1 < bytes; i++) must((unsigned char)line[i] >= ' ');
    must(!strncmp(line, "lowtide: LOWTIDE_", 17) && memmem(line, bytes, "; using ", 8));
    return (ssize_t)bytes;
}

static void check_options(void) {
    must(options.minmem_free.number >= 0 && options.minmem_free.number < INT64_MAX && !options.minmem_free.is_percent);
    must(options.minmem_pct_free >= 0 && options.minmem_pct_free <= 100);
    must(options.minmem_pct_total >= 0 && options.minmem_pct_total <= 100);
    must(options.profile >= PROFILE_TIGHT && options.profile <= PROFILE_THROUGHPUT);
    must(options.housekeep == HOUSEKEEP_INLINE || options.housekeep == HOUSEKEEP_THREAD);
    must(!options.stats || *options.stats);
    must(!options.root || *options.root);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char text[BYTES], *environment[ENTRIES + 1], *at = text;
    int n = 0;
    if (bytes >= sizeof text) return -1;
    if (bytes) memcpy(text, data, bytes);
    text[bytes] = 0;
    while (n < ENTRIES && at) environment[n++] = strsep(&at, "\n");
    environment[n] = NULL;
    options_parse(environment);
    check_options();
    return 0;
}
