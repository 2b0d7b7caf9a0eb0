/* glibc's calls that tell of the heap, told of lowtide's. */
#include "preload.h"

#include "../core/core.h"
#include "../core/stats.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>

/* arena: what arenas have resident; uordblks + hblkhd: what the program holds; fordblks: the rest
 * of the arenas; keepcost: what malloc_trim(0) would give back. */
EXPORT struct mallinfo2 mallinfo2(void) {
    struct stats s;
    stats_collect(&s);
    int64_t small = s.live_bytes - s.large_current_bytes;
    return (struct mallinfo2){
        .arena = (size_t)(small + s.free_in_live_bytes + s.retained_bytes),
        .ordblks = (size_t)s.magazine_blocks,
        .hblks = (size_t)s.large_current,
        .hblkhd = (size_t)(s.large_current_bytes + s.large_untouched_bytes),
        .fsmblks = (size_t)s.magazine_bytes,
        .uordblks = (size_t)small,
        .fordblks = (size_t)(s.free_in_live_bytes + s.retained_bytes),
        .keepcost = (size_t)s.retained_bytes,
    };
}

static int clipped(size_t n) { return n > INT_MAX ? INT_MAX : (int)n; }

/* The old form, whose fields are int: clipped instead of wrapped around. */
EXPORT struct mallinfo mallinfo(void) {
    struct mallinfo2 m = mallinfo2();
    return (struct mallinfo){
        .arena = clipped(m.arena),
        .ordblks = clipped(m.ordblks),
        .hblks = clipped(m.hblks),
        .hblkhd = clipped(m.hblkhd),
        .fsmblks = clipped(m.fsmblks),
        .uordblks = clipped(m.uordblks),
        .fordblks = clipped(m.fordblks),
        .keepcost = clipped(m.keepcost),
    };
}

EXPORT void malloc_stats(void) {
    struct stats s;
    stats_collect(&s);
    fprintf(stderr, "lowtide %s\n", LOWTIDE_VERSION);
#define STAT(key, text) fprintf(stderr, "%-24s %15lld  %s\n", #key, (long long)s.key, text);
#include "../core/stats.def"
#undef STAT
}

EXPORT int malloc_info(int how, FILE *to) {
    if (how) return EINVAL;
    struct stats s;
    stats_collect(&s);
    fprintf(to, "<malloc version=\"lowtide-%s\">\n", LOWTIDE_VERSION);
#define STAT(key, text) \
    fprintf(to, "  <stat name=\"%s\" value=\"%lld\"/>\n", #key, (long long)s.key);
#include "../core/stats.def"
#undef STAT
    fprintf(to, "</malloc>\n");
    return 0;
}

/* glibc's knobs have no counterpart here: the known ones are accepted (1) and change nothing,
 * others refused (0). */
EXPORT int mallopt(int parameter, int value) {
    (void)value;
    switch (parameter) {
    case M_MXFAST:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}
