#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct line {
    char text[256];
    size_t used;
};

static void line_add(struct line *line, const char *text) {
    size_t n = strlen(text), room = sizeof line->text - 1 - line->used;
    if (n > room) n = room;
    memcpy(line->text + line->used, text, n);
    line->used += n;
}

static void line_add_number(struct line *line, uint64_t n, unsigned base) {
    char digits[24], *d = digits + sizeof digits - 1;
    *d = 0;
    do *--d = "0123456789abcdef"[n % base];
    while (n /= base);
    line_add(line, d);
}

static void line_write(struct line *line) {
    int saved = errno;
    line->text[line->used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line->text, line->used);
    (void)written; /* nowhere else to say it */
    errno = saved;
}

void report_misuse(const char *what, const void *pointer) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: ");
    line_add(&line, what);
    line_add(&line, ": pointer 0x");
    line_add_number(&line, (uintptr_t)pointer, 16);
    line_add(&line, " (pid ");
    line_add_number(&line, (uint64_t)getpid(), 10);
    line_add(&line, ")");
    line_write(&line);
    abort();
}

void report_line(const char *text) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: ");
    line_add(&line, text);
    line_write(&line);
}
