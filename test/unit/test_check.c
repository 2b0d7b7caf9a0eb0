/* LOWTIDE_CHECK=2: sizes, alignment, order and quarantine of checked blocks. What is said of mistakes: test/faults. */
#include "unit.h"

#include "../../core/check.h"

#include <pthread.h>
#include <sys/uio.h>
#include <unistd.h>

static void begin(void) { cr_assert_null(check_start()); }
TestSuite(check, .init = begin);

static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 496, 497, 512, 600, 4096, 20000, 33000, 100000, 131056, 131057, 131072, 140000, 1 << 20};

Test(check, blocks_have_the_size_asked_for) {
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        char *p = core_malloc(sizes[i]);
        cr_assert_not_null(p);
        cr_assert_eq((uintptr_t)p % 16, 0);
        cr_assert_eq(core_usable_bytes(p), sizes[i]);
        memset(p, 1, sizes[i]);
        core_free(p);
    }
    assert_sound();
}

Test(check, calloc_gives_zeros) {
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < COUNT(sizes); i++) {
            unsigned char *p = core_calloc(1, sizes[i]);
            for (size_t at = 0; at < sizes[i]; at++) cr_assert_eq(p[at], 0);
            memset(p, 1, sizes[i]);
            core_free(p);
            check_drain();
        }
}

Test(check, realloc_keeps_contents_and_moves) {
    for (unsigned i = 0; i < COUNT(sizes); i++)
        for (unsigned j = 0; j < COUNT(sizes); j++) {
            unsigned char *p = core_malloc(sizes[i]);
            memset(p, 7, sizes[i]);
            unsigned char *q = core_realloc(p, sizes[j]);
            if (!sizes[j]) continue; /* freed */
            bool is_near = sizes[j] >= sizes[i] - sizes[i] / 4 && sizes[j] <= sizes[i] + sizes[i] / 4;
            bool may_stay = is_near && sizes[i] > SLAB_MAX - 16 && sizes[j] > SLAB_MAX - 16;
            cr_assert(p != q || may_stay);
            for (size_t at = 0; at < sizes[i] && at < sizes[j]; at++) cr_assert_eq(q[at], 7);
            core_free(q);
        }
    assert_sound();
}

/* For each line that a program adds to its text. */
Test(check, a_buffer_that_grows_by_little_is_not_copied_each_time) {
    enum { STEP = 1000, STEPS = 5000 };
    unsigned char *p = core_malloc(STEP);
    unsigned moves = 0;
    for (unsigned i = 1; i <= STEPS; i++) {
        memset(p + (i - 1) * STEP, (int)i, STEP);
        unsigned char *q = core_realloc(p, (size_t)(i + 1) * STEP);
        cr_assert_eq(core_usable_bytes(q), (size_t)(i + 1) * STEP);
        moves += q != p && i * STEP > SLAB_MAX;
        p = q;
    }
    for (unsigned i = 1; i <= STEPS; i++)
        for (unsigned at = 0; at < STEP; at++) cr_assert_eq(p[(i - 1) * STEP + at], (unsigned char)i);
    cr_assert_leq(moves, 40);
    while (core_usable_bytes(p) > STEP) cr_assert_not_null(p = core_realloc(p, core_usable_bytes(p) - STEP));
    for (unsigned at = 0; at < STEP; at++) cr_assert_eq(p[at], 1);
    core_free(p);
    check_drain();
    assert_sound();
}

/* As the kernel sees it. */
static bool is_closed(const void *at) {
    struct iovec local = {&(char){0}, 1}, remote = {(void *)at, 1};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) < 0;
}

Test(check, a_refused_growth_leaves_the_buffer_closed_at_its_end) {
    enum { BYTES = 1 << 20 };
    char *p = core_malloc(BYTES);
    memset(p, 3, BYTES);
    unit_watch_kernel();
    unit_kernel.mmaps_left = unit_kernel.mremaps_left = 0;
    cr_assert_null(core_realloc(p, BYTES + BYTES / 5));
    cr_assert_eq(core_usable_bytes(p), BYTES);
    unit_kernel.mmaps_left = unit_kernel.mremaps_left = -1;
    for (unsigned i = 0; i < BYTES; i++) cr_assert_eq(p[i], 3);
    cr_assert(is_closed(p + BYTES + 16 + os_page_bytes));
    cr_assert_not_null(p = core_realloc(p, BYTES + BYTES / 5));
    cr_assert_not(is_closed(p + BYTES + BYTES / 5 - 1));
    cr_assert(is_closed(p + BYTES + BYTES / 5 + 16 + os_page_bytes));
}

Test(check, alignments_are_kept) {
    for (size_t alignment = 16; alignment <= 4 << 20; alignment *= 2)
        for (unsigned i = 0; i < COUNT(sizes); i++) {
            char *p = core_memalign(alignment, sizes[i]);
            cr_assert_not_null(p);
            cr_assert_eq((uintptr_t)p % alignment, 0);
            cr_assert_eq(core_usable_bytes(p), sizes[i]);
            memset(p, 3, sizes[i]);
            core_free(p);
        }
    assert_sound();
}

Test(check, too_much_is_refused) {
    static const size_t much[] = {PTRDIFF_MAX, PTRDIFF_MAX - 100, SIZE_MAX, SIZE_MAX - 16, SIZE_MAX - 5000};
    for (unsigned i = 0; i < COUNT(much); i++) {
        errno = 0;
        cr_assert_null(core_malloc(much[i]));
        cr_assert_eq(errno, ENOMEM);
        cr_assert_null(core_memalign(4096, much[i]));
    }
    char *p = core_malloc(100);
    cr_assert_null(core_realloc(p, PTRDIFF_MAX));
    cr_assert_eq(core_usable_bytes(p), 100, "it is left as it was");
}

Test(check, a_freed_block_waits) {
    void *p = core_malloc(100);
    core_free(p);
    for (unsigned i = 0; i < 8000; i++) {
        void *q = core_malloc(100);
        cr_assert_neq(q, p);
        core_free(q);
    }
    check_drain();
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

static void free_many(size_t bytes, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        char *p = core_malloc(bytes);
        p[0] = p[bytes - 1] = 1;
        core_free(p);
    }
}

Test(check, what_waits_is_bounded_by_bytes) {
    static const struct {
        size_t bytes;
        int64_t most;
        unsigned frees;
    } kinds[] = {{500, 8 << 20, 9000}, {30000, 4 << 20, 150}, {100000, 8 << 20, 80}};
    for (unsigned i = 0; i < COUNT(kinds); i++) {
        free_many(kinds[i].bytes, kinds[i].frees);
        cr_assert_gt(counters.taken_bytes, kinds[i].most / 4);
        cr_assert_leq(counters.taken_bytes, kinds[i].most);
        check_drain();
        cr_assert_eq(counters.taken_bytes, 0);
    }
}

Test(check, buffers_wait_with_one_page_each) {
    free_many(200000, 80);
    cr_assert_eq(counters.large_count, 64);
    free_many(16 << 20, 80);
    int64_t bytes = counters.large_pages * PAGE_BYTES;
    cr_assert(bytes > 200 << 20 && bytes <= 256 << 20, "%ld MiB wait", (long)(bytes >> 20));
    struct stats s;
    stats_collect(&s);
    cr_assert_leq(s.resident_heap_bytes, 6 << 20);
    free_many(300 << 20, 1);
    cr_assert_eq(counters.large_count, 0, "what is larger than that pushes all out, itself too");
    assert_sound();
}

Test(check, a_freed_buffer_is_found_wherever_it_waits) {
    void *p = core_malloc(200000);
    core_free(p);
    free_many(200000, 63);
    cr_assert_eq(core_owned_bytes(p, "gone"), large_usable_bytes(p));
    core_free(core_malloc(200000));
    cr_assert_neq(pagemap_class((uintptr_t)p), CLASS_LARGE);
}

static char *buffer;
static _Atomic(bool) is_begun;
static bool is_found, is_whole; /* by the second thread: found out; its pages were still there then */
static pthread_t second;

static void free_buffer(void *unused) {
    (void)unused;
    is_begun = true;
    core_free(buffer);
}
static void *free_it_again(void *unused) {
    is_found = unit_is_misuse(free_buffer, NULL);
    is_whole = !is_closed(buffer + os_page_bytes);
    return unused;
}
static void let_the_second_begin(void) {
    unit_kernel.on_call = NULL;
    cr_assert_eq(pthread_create(&second, NULL, free_it_again, NULL), 0);
    while (!is_begun) usleep(100);
    usleep(10000);
}

Test(check, a_buffer_that_another_thread_is_freeing_is_not_looked_at) {
    buffer = core_malloc(1 << 20);
    unit_watch_kernel();
    unit_kernel.on_call = let_the_second_begin;
    core_free(buffer);
    pthread_join(second, NULL);
    cr_assert(is_found && !is_whole);
}

Test(check, blocks_come_in_no_order) {
    char *before = core_malloc(100);
    unsigned up = 0, pages = 0;
    for (unsigned i = 0; i < 1000; i++) {
        char *p = core_malloc(100);
        up += p > before;
        pages += ((uintptr_t)p ^ (uintptr_t)before) < PAGE_BYTES;
        before = p;
    }
    cr_assert(up > 300 && up < 800, "%u of 1000 lie above the one before", up);
    cr_assert_gt(pages, 500, "a page is used up before the next");
}

Test(check, where_memory_is_short_the_quarantine_ends) {
    void *p = core_malloc(20000);
    core_free(p);
    int64_t before = counters.taken_bytes;
    unit_watch_kernel();
    unit_kernel.mmaps_left = 0;
    core_malloc(100 << 20);
    cr_assert_lt(counters.taken_bytes, before);
}

Test(check, threads_hand_blocks_to_each_other) {
    static struct unit_exchange exchange = {.most_bytes = 3000, .steps = 20000};
    unit_run_threads(4, unit_exchange_run, &exchange);
    cr_assert_eq(exchange.faults, 0);
    unit_exchange_end(&exchange);
    check_drain();
    cr_assert(counters.taken_bytes == 0 && counters.heaps_open == 0);
    assert_sound();
}

/* What was there before stays as it is. */
Test(check_early, blocks_from_before_are_not_checked) {
    static char *p[COUNT(sizes)];
    for (unsigned i = 0; i < COUNT(sizes); i++) p[i] = core_malloc(sizes[i]);
    cr_assert_null(check_start());
    for (unsigned i = 0; i < COUNT(sizes); i++) {
        size_t usable = core_usable_bytes(p[i]);
        cr_assert_geq(usable, sizes[i]);
        memset(p[i], 5, usable);
        if (i % 2) {
            p[i] = core_realloc(p[i], usable + 100);
            for (size_t at = 0; at < usable; at++) cr_assert_eq(p[i][at], 5);
        }
        core_free(p[i]);
    }
    check_drain();
    assert_sound();
}

Test(check_early, an_aligned_buffer_of_no_bytes_goes) {
    void *p = core_memalign(4 * ARENA_BYTES, 0);
    cr_assert_null(check_start());
    core_free(p);
    core_trim(0);
    cr_assert(counters.large_count == 0 && counters.large_mapped_bytes == 0);
}

static void refuse_beside_a_thread(unsigned index, void *why_not) {
    (void)index;
    core_free(core_malloc(16));
    *(const char **)why_not = check_start();
}
Test(check_early, not_beside_threads_that_have_magazines) {
    const char *why_not = NULL;
    core_free(core_malloc(16));
    unit_run_threads(1, refuse_beside_a_thread, &why_not);
    cr_assert(why_not && strstr(why_not, "threads"));
    cr_assert_eq(core_check_level, 1);
}

Test(check_early, not_without_memory_for_what_was_there) {
    void *p = core_malloc(16);
    unit_watch_kernel();
    unit_kernel.mmaps_left = 0;
    const char *why_not = check_start();
    cr_assert(why_not && strstr(why_not, "memory"));
    cr_assert_eq(core_check_level, 1);
    unit_kernel.mmaps_left = -1;
    cr_assert_null(check_start());
    core_free(p);
    assert_sound();
}

/* A library that wraps mmap allocates while the list of what is early gets its memory. */
static void *inside;
static void allocate_inside(void) {
    unit_kernel.on_call = NULL;
    inside = core_malloc(40);
}
Test(check_early, blocks_that_come_while_it_starts_are_not_checked) {
    unit_watch_kernel();
    unit_kernel.on_call = allocate_inside;
    cr_assert_null(check_start());
    cr_assert_not_null(inside);
    core_free(inside);
    check_drain();
    assert_sound();
}
