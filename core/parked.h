/* Ranges of the large tier that could not be unmapped (too many holes in the address space, or the
 * kernel refused): released, and kept for reuse, as many as there are. No locks.
 */
#ifndef LOWTIDE_CORE_PARKED_H
#define LOWTIDE_CORE_PARKED_H

#include "atomics.h"

HIDDEN void parked_put(uintptr_t base, size_t bytes);

/* A range of at least *bytes and less than twice that, whole; 0 = none. *bytes becomes its size. */
HIDDEN uintptr_t parked_take(size_t *bytes, size_t alignment);

/* Any of them, its size in *bytes; 0 = there is none. */
HIDDEN uintptr_t parked_take_any(size_t *bytes);

#endif
