/* Large buffers: above SLAB_MAX, or aligned beyond an arena; each has a mapping of its own.
 *
 * A buffer begins at a multiple of OWNER_BYTES, and the page map's owner word for that place holds
 * its size, so there is no other metadata. Freed buffers wait in a small cache within the budget.
 */
#ifndef LOWTIDE_CORE_LARGE_H
#define LOWTIDE_CORE_LARGE_H

#include "types.h"

/* `bytes` at a multiple of `alignment` (a power of two), or NULL. What lies behind the first *dirty
 * bytes is zero. */
HIDDEN void *large_alloc(size_t bytes, size_t alignment, size_t *dirty);

/* Frees a pointer whose page is CLASS_LARGE or CLASS_LARGE_BODY; one that is not a buffer's start
 * is reported. */
HIDDEN void large_free(void *p);

/* Bytes the program may use at p, the start of a large buffer; 0 if p is not one. */
HIDDEN size_t large_usable_bytes(const void *p);

/* Bytes of its pages that were asked for; p is the start of a large buffer. */
HIDDEN size_t large_live_bytes(const void *p);

/* Makes the buffer `bytes` long, moving pages rather than copying. Contents up to the smaller size
 * are kept; NULL: unchanged. */
HIDDEN void *large_resize(void *p, size_t bytes);

/* Unmaps cached buffers, the oldest first, until `pages` have been released or none is left. */
HIDDEN size_t large_release(size_t pages);

/* Tries again to unmap what could not be, until that fails once more; true when any was unmapped.
 */
HIDDEN bool large_unmap_parked(void);

#endif
