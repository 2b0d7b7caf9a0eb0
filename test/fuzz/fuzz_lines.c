/* The reader of long files, which must find the same lines as a walk of the text. */
#include "fuzz.h"

#include "../../trim-policy/file.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* The next line that has an end and fits the reader's buffer. */
static bool next_whole_line(struct text *rest, struct text *line) {
    while (memchr(rest->bytes ? rest->at : "", '\n', rest->bytes)) {
        must(text_take_line(rest, line));
        if (line->bytes < FILE_LINE_BYTES) return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static int fd = -1;
    static char name[32];
    struct file_lines lines;
    struct text rest = fuzz_text(data, bytes), expected, line;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    }
    must(!ftruncate(fd, 0) && pwrite(fd, data, bytes, 0) == (ssize_t)bytes);
    must(file_open_lines(&lines, "", name));
    while (file_next_line(&lines, &line)) {
        must(next_whole_line(&rest, &expected));
        must(line.bytes == expected.bytes && !memcmp(line.at, expected.at, line.bytes));
    }
    must(!next_whole_line(&rest, &expected));
    file_close_lines(&lines);
    return 0;
}
