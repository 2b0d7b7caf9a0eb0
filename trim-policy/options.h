/* The options: environment variables LOWTIDE_*, declared in options.def. */
#ifndef LOWTIDE_OPTIONS_H
#define LOWTIDE_OPTIONS_H

#include "text.h"

struct options {
#define CHOICE(field, variable, words, standard, help)                    int field;
#define TEXT(field, variable, what, help)                                 const char *field;
#define SIZE(field, variable, least, most, takes_percent, standard, help) struct text_size field;
#define NUMBER(field, variable, unit, least, most, standard, help)        int64_t field;
#include "options.def"
#undef CHOICE
#undef TEXT
#undef SIZE
#undef NUMBER
};
extern __attribute__((visibility("hidden"))) struct options options;

enum { HOUSEKEEP_INLINE, HOUSEKEEP_THREAD };
enum { RETURN_UNMAP, RETURN_DONTNEED, RETURN_FREE };
enum { PROFILE_TIGHT, PROFILE_BALANCED, PROFILE_THROUGHPUT };

/* Sets `options` from the environment; a bad value is said in one line on stderr (variable, value,
 * what is used) and replaced by the default, also one out of range. Allocates nothing. Programs
 * that run with raised privileges (AT_SECURE) get the defaults. */
__attribute__((visibility("hidden"))) void options_parse(char *const *environment);

/* Lists variable, values, default and help on stderr. */
__attribute__((visibility("hidden"))) void options_print_help(void);

#endif
