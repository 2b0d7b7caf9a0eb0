/* The kernel's door for fuzz_calls: core's calls of the mmap family pass here, the input says which of them are refused, and what is
 * mapped is counted. */
#ifndef LOWTIDE_FUZZ_DOOR_H
#define LOWTIDE_FUZZ_DOOR_H

#include <stdbool.h>
#include <stdint.h>

enum { DOOR_MMAP, DOOR_MUNMAP, DOOR_MADVISE, DOOR_MREMAP, DOOR_MPROTECT, DOOR_RANGES, DOOR_CALLS };

struct door {
    unsigned skip[DOOR_CALLS], refuse[DOOR_CALLS]; /* so many calls pass, then so many are refused; UINT_MAX: all that follow */
    int error;
    bool takes_target;    /* a refused move has unmapped its target already, as older kernels do */
    bool in_one_call;     /* many ranges are released by one call */
    void (*on_call)(void); /* what a library that wraps these calls may do: allocate */
    /* Counted: */
    uint64_t refused[DOOR_CALLS];
    int64_t mapped_bytes;
    bool has_torn; /* a target was taken, and what is mapped is not known any more */
};
extern struct door door;

/* Puts core's calls through the door. */
void door_install(void);

/* From now on nothing is refused. */
void door_lift(void);

#endif
