/* Checked blocks (LOWTIDE_CHECK=2): each knows the size it was asked for and ends in bytes that
 * nobody may change; a freed one is filled with a pattern and waits before it is used again.
 *
 * No thread has magazines then, so every call takes a slow path, and those come here. What was
 * allocated before check_start, by the loader and other libraries, is known by address and stays
 * unchecked.
 *
 *   block:  | the program's bytes | canary, at least 8 bytes | size, coded with the key |
 *
 * A write past the end is found when the block is freed or resized, or when the process ends (if it
 * had one thread alone), a write after the free when the block leaves the quarantine, at the latest
 * when the process ends, a double free at the second call. A write before the beginning changes the
 * end of the block before, and is found as that if one is there. Buffers above SLAB_MAX end at
 * pages without access, so a write there is SIGSEGV; of those that wait only the first page is
 * kept, and whoever reads or writes behind it is stopped likewise. How many wait is bounded by
 * bytes (check.c). The key is that of the marks (heap.h).
 */
#ifndef LOWTIDE_CORE_CHECK_H
#define LOWTIDE_CORE_CHECK_H

#include "types.h"

/* Goes over to checked blocks and returns NULL; else nothing changes, and a line says why: other
 * threads have magazines, or the kernel has no memory for what was there before. */
HIDDEN const char *check_start(void);

/* As the calls of core.h; what is reallocated is ours. */
HIDDEN void *check_malloc(size_t bytes);
HIDDEN void *check_calloc(size_t bytes);
HIDDEN void *check_memalign(size_t alignment, size_t bytes);
HIDDEN void *check_realloc(void *p, size_t bytes);
HIDDEN size_t check_usable_bytes(const void *p);
HIDDEN bool check_may_have_asked(const void *p, size_t bytes);

/* `p` is where a block or a large buffer begins. */
HIDDEN void check_free(void *p);

/* Ends the quarantine of all blocks that wait. */
HIDDEN void check_drain(void);

/* At the exit of the process: that, and looks at the blocks that were never freed, if the process
 * has had one thread alone. */
HIDDEN void check_end(void);

/* A random place below `n`. */
HIDDEN unsigned check_random(unsigned n);

#endif
