/* Misuse by the program: one line on stderr, then abort. */
#ifndef LOWTIDE_CORE_REPORT_H
#define LOWTIDE_CORE_REPORT_H

#include "types.h"

/* Writes `lowtide: <what>: pointer 0x... (pid N)` with write(2) and aborts. Uses no memory of the
 * heap and a few hundred bytes of stack, so it works from any state the heap is in. Where stderr is
 * full and nobody reads it for some seconds there is no line. Behind a seccomp filter the line has
 * no pid, and is waited for as long as it takes. */
HIDDEN _Noreturn void report_misuse(const char *what, const void *pointer);

/* Writes `lowtide: <text>` as one line; keeps errno. */
HIDDEN void report_line(const char *text);

#endif
