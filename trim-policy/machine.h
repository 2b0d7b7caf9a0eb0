/* How short memory is, as a level that policy acts on: looks at the machine, the container and the
 * process at most every 100 ms, keeps what must last between looks, and says in verbose mode what
 * it found.
 *
 * One caller at a time (policy.c sees to that). It looks when somebody asks, never by itself: short
 * programs and those that retain little are not to pay for it, and a program that locks itself into
 * a seccomp filter would be killed for opening a file. So there is no looking once
 * os_is_filtered, and the level is low from then on: what was true a long time ago should not cost
 * speed for ever.
 */
#ifndef LOWTIDE_MACHINE_H
#define LOWTIDE_MACHINE_H

#include "watermark.h"

struct machine {
    struct sample sample;
    struct reading start_bytes; /* what was available at the first look */
    struct watermarks marks;
    struct watermark_state state;
    bool has_looked;
    int64_t looked_ms;
};

/* The settings are of the options; `root` goes in front of /proc and /sys ("" = the real ones). */
HIDDEN void machine_init(struct machine *machine, const char *root,
                         struct minimum_settings settings, bool is_verbose);

/* The level after a look, if MACHINE_LOOK_MS have passed since the last one; costs what sample_read
 * says. */
enum { MACHINE_LOOK_MS = 100 };
HIDDEN int machine_look(struct machine *machine, int64_t now_ms);

#endif
