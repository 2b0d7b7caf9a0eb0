/* Bounded reading of the kernel's texts: a text is a range of bytes and need not end with a NUL.
 *
 * Who calls: the parsers of this folder, from an allocator's slow path. So nothing here allocates,
 * keeps state, knows a locale or reads past the end, whatever the bytes are; a number too large for
 * its type becomes the largest.
 */
#ifndef LOWTIDE_TEXT_H
#define LOWTIDE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

struct text {
    const char *at;
    size_t bytes;
};

/* A number that a source may not have; never negative. `value` means nothing (and is 0) where it is
 * not known. */
struct reading {
    int64_t value;
    bool is_known;
};

/* "No limit", as cgroup v2 writes "max" and v1 the largest multiple of a page. */
#define NO_LIMIT INT64_MAX
/* At or above it, what a file has for a limit is none. */
#define LEAST_NO_LIMIT (INT64_MAX / 2)

static inline struct reading known(int64_t value) { return (struct reading){value, true}; }

/* The smaller of those known. */
HIDDEN struct reading reading_smaller(struct reading a, struct reading b);

HIDDEN struct text text_of(const char *string);
HIDDEN bool text_is(struct text text, const char *string);
HIDDEN bool text_starts_with(struct text text, const char *string);

/* Takes the next line (without its end) or word (what is not blank) off `rest`; false when there is
 * none. */
HIDDEN bool text_take_line(struct text *rest, struct text *line);
HIDDEN bool text_take_word(struct text *rest, struct text *word);

/* Takes what precedes `separator` off `rest`, and the separator; all of it where there is none.
 * False when `rest` was empty. */
HIDDEN bool text_take_until(struct text *rest, char separator, struct text *part);

/* True when `word` is an item of a list separated by commas. */
HIDDEN bool text_list_has(struct text list, const char *word);

/* Takes decimal digits off `rest`; false when it does not begin with one. */
HIDDEN bool text_take_number(struct text *rest, int64_t *number);

/* The text as a whole is a number or "max"; a newline may follow. */
HIDDEN struct reading text_parse_limit(struct text text);

/* The number behind `key` on the line that begins with the word `key` ("Key: 12 kB", "key 12"),
 * times 1024 where "kB" follows. With `needs_unit` a number without it is not known: the text was
 * cut inside it. */
HIDDEN struct reading text_find_number(struct text text, const char *key, bool needs_unit);

/* Bytes with an optional suffix K, M, G, T (1024; lower case too, "iB" or "B" may follow) or a
 * percentage "12%". */
struct text_size {
    int64_t number; /* bytes, or percent */
    bool is_percent;
};
HIDDEN bool text_parse_size(struct text text, struct text_size *size);

/* Copies the text with \ooo decoded and a NUL behind it; false when it does not fit, or holds a
 * NUL. */
HIDDEN bool text_decode_octal(struct text text, char *to, size_t room);

#endif
