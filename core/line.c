#include "line.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void add_byte(struct line *line, char byte) {
    if (line->used < sizeof line->text - 1) line->text[line->used++] = byte;
}

void line_add(struct line *line, const char *text) {
    while (*text) add_byte(line, *text++);
}

void line_add_foreign(struct line *line, const char *text, size_t most) {
    for (; most && *text; text++, most--)
        add_byte(line, (unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
}

void line_add_number(struct line *line, uint64_t number, unsigned base) {
    char digits[24], *d = digits + sizeof digits - 1;
    *d = 0;
    do *--d = "0123456789abcdef"[number % base];
    while (number /= base);
    line_add(line, d);
}

void line_pad(struct line *line, size_t to) {
    while (line->used < to && to < sizeof line->text) add_byte(line, ' ');
}

bool line_is_mute;

void line_write(struct line *line) {
    if (line_is_mute) return;
    int saved = errno;
    line->text[line->used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line->text, line->used);
    (void)written; /* nowhere else to say it */
    errno = saved;
}
