#include "report.h"

#include "line.h"

#include <stdlib.h>
#include <unistd.h>

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
