/* The options: environment variables LOWTIDE_*, declared in options.def. */
#ifndef LOWTIDE_OPTIONS_H
#define LOWTIDE_OPTIONS_H

struct options {
#define CHOICE(field, variable, words, standard, help) int field;
#define TEXT(field, variable, what, help) const char *field;
#include "options.def"
#undef CHOICE
#undef TEXT
};
extern __attribute__((visibility("hidden"))) struct options options;

enum { RETURN_UNMAP, RETURN_DONTNEED, RETURN_FREE };

/* Sets `options` from the environment; a bad value is said in one line on stderr (variable, value, what is used) and
 * replaced by the default. Allocates nothing. Programs that run with raised privileges (AT_SECURE) get
 * the defaults. */
__attribute__((visibility("hidden"))) void options_parse(char *const *environment);

/* Lists variable, values, default and help on stderr. */
__attribute__((visibility("hidden"))) void options_print_help(void);

#endif
