/* What the allocator at work says of itself, beside what the kernel says: asked for by symbols that are there only when it is
 * preloaded.
 *
 *   allocated   in blocks the program holds, as the allocator counts them (most count a block with its class's size)
 *   active      in pages (glibc: the heap without its top) that hold such a block
 *   resident    what it takes to be in memory (glibc, tcmalloc: got from the kernel and not given back)
 *   retained    address space it keeps without memory behind it
 *
 * What an allocator does not tell is not printed. */
#ifndef LOWTIDE_BENCH_STATISTICS_H
#define LOWTIDE_BENCH_STATISTICS_H

#include "bench.h"

__attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t size);
__attribute__((weak)) int MallocExtension_GetNumericProperty(const char *name, size_t *value);
__attribute__((weak)) void mi_process_info(size_t *elapsed_ms, size_t *user_ms, size_t *system_ms, size_t *rss,
                                           size_t *peak_rss, size_t *commit, size_t *peak_commit, size_t *faults);

static inline void print_jemalloc(void)
{
    uint64_t epoch = 1;
    mallctl("epoch", NULL, NULL, &epoch, sizeof epoch);
    static const char *const names[] = {"allocated", "active", "resident", "retained"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[32];
        size_t value, size = sizeof value;
        snprintf(name, sizeof name, "stats.%s", names[i]);
        if (mallctl(name, &value, &size, NULL, 0) == 0)
            printf("said_%s_bytes=%zu\n", names[i], value);
    }
}

static inline size_t tcmalloc_property(const char *name)
{
    size_t value = 0;
    MallocExtension_GetNumericProperty(name, &value);
    return value;
}

static inline void print_tcmalloc(void)
{
    size_t mapped = tcmalloc_property("generic.heap_size");
    size_t unmapped = tcmalloc_property("tcmalloc.pageheap_unmapped_bytes");
    size_t spare = tcmalloc_property("tcmalloc.pageheap_free_bytes");
    printf("said_allocated_bytes=%zu\nsaid_active_bytes=%zu\nsaid_resident_bytes=%zu\nsaid_retained_bytes=%zu\n",
           tcmalloc_property("generic.current_allocated_bytes"), mapped - unmapped - spare, mapped - unmapped, unmapped);
}

/* What it has committed is all that mimalloc 2.0 tells. */
static inline void print_mimalloc(void)
{
    size_t unused, commit;
    mi_process_info(&unused, &unused, &unused, &unused, &unused, &commit, &unused, &unused);
    printf("said_resident_bytes=%zu\n", commit);
}

/* lowtide's keepcost is all its free pages, glibc's the top of the heap. */
static inline void print_mallinfo(void)
{
    struct mallinfo2 info = mallinfo2();
    printf("said_allocated_bytes=%zu\nsaid_active_bytes=%zu\nsaid_resident_bytes=%zu\n", info.uordblks + info.hblkhd,
           info.arena - info.keepcost + info.hblkhd, info.arena + info.hblkhd);
}

static inline void print_statistics(void)
{
    if (mallctl)
        print_jemalloc();
    else if (MallocExtension_GetNumericProperty)
        print_tcmalloc();
    else if (mi_process_info)
        print_mimalloc();
    else
        print_mallinfo();
}

#endif
