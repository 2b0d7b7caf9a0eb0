/* A line of text put together on the stack and written with one write(2): for messages from places
 * where nothing may be allocated and libc's streams may be in any state. */
#ifndef LOWTIDE_CORE_LINE_H
#define LOWTIDE_CORE_LINE_H

#include "types.h"

struct line {
    size_t used;
    char text[512]; /* what does not fit is left out */
};

HIDDEN void line_add(struct line *line, const char *text);

/* At most `most` bytes of a text from outside; control characters become '?', so that it cannot
 * break the line. */
HIDDEN void line_add_foreign(struct line *line, const char *text, size_t most);

HIDDEN void line_add_number(struct line *line, uint64_t number, unsigned base);

/* Spaces up to a column. */
HIDDEN void line_pad(struct line *line, size_t to);

/* Writes the line and its end to stderr; keeps errno. */
HIDDEN void line_write(struct line *line);

/* The process was started without stderr: a file that it opens may get that descriptor, and is not
 * written to. */
extern HIDDEN bool line_is_mute;

#endif
