/* What the interposed symbols share. */
#ifndef LOWTIDE_PRELOAD_H
#define LOWTIDE_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))

/* A second name of a function, with the attributes libc's headers gave the first. */
#if __has_attribute(copy)
#define ALIAS_OF(name) __attribute__((alias(#name), copy(name)))
#else
#define ALIAS_OF(name) __attribute__((alias(#name)))
#endif

/* Releases of many ranges in one call, where that may be (batch.c). */
HIDDEN void batch_init(void);

/* Takes this library out of LD_PRELOAD in `envp`; false when it was not there (aside.c). */
HIDDEN bool aside_leave_preload(char **envp);

/* Starts the program again without this library if it has a sanitizer's runtime. */
HIDDEN void aside_from_sanitizer(char **argv, char **envp);

/* Whether what the program calls as malloc is not this library's. */
HIDDEN bool aside_from_other_malloc(void);

/* Finds libc's own allocator, for pointers that it made (foreign.c). */
HIDDEN void foreign_init(void);

/* Malloc is ours: libraries opened with RTLD_DEEPBIND are to be bound to it (deepbind.c). */
HIDDEN void deepbind_init(void);

/* Decides whether this is a CPython interpreter whose objects lowtide should hold; in a program of
 * another name, decided when a CPython in it asks for PYTHONMALLOC (python.c). */
HIDDEN void python_init(int argc, char **argv, bool malloc_is_ours);

/* To be called before `caller` gets private memory from mmap: where it is the pymalloc of a CPython
 * that has not asked, lowtide takes its place. */
HIDDEN void python_sees_mapping(size_t bytes, void *caller);

/* "malloc" or "malloc_debug" when the interpreter is told so for PYTHONMALLOC, "malloc ..." when
 * pymalloc's place is taken at its first arena, else why not. */
HIDDEN const char *python_state(void);

#endif
