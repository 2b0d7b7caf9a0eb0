/* Misuse: found, said in exactly one line, ended with SIGABRT. */
#include "unit.h"

#include <criterion/redirect.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* `p` was allocated by the parent, with 1000 more of its size around it, so that its page stays in use. */
static void free_twice(void *p) { core_free(p), core_free(p); }
static void free_twice_with_one_between(void *p) {
    void *other = core_malloc(64);
    core_free(p), core_free(other), core_free(p);
    for (unsigned i = 0; i < 200; i++) core_malloc(64);
}
static void free_twice_with_a_flush_between(void *p) {
    core_free(p), heap_flush(false), core_free(p), heap_flush(false);
}
/* What is in a pool and in a magazine must not be handed out by both. */
static void use_twice_after_a_flush_between(void *p) {
    core_free(p), heap_flush(false), core_free(p);
    for (unsigned i = 0; i < 3000; i++) core_malloc(64);
}
static void free_twice_until_the_end(void *p) {
    void *other = core_malloc(64);
    core_free(p), core_free(other), core_free(p);
    heap_check_magazines();
}
static void free_twice_with_a_trim_between(void *p) {
    core_free(p), core_trim(0), core_free(p);
}
static void free_inside(void *p) { core_free((char *)p + 16); }
static void free_inside_large(void *p) { core_free((char *)p + OWNER_BYTES); }
static void free_unaligned(void *p) { core_free((char *)p + 1); }
static void free_behind_the_last_block(void *p) {
    const struct class_info *info = &class_table[pagemap_class((uintptr_t)p)];
    core_free((void *)(((uintptr_t)p & ~pagemap.check[pagemap_class((uintptr_t)p)].offset_mask) + info->blocks * info->block_bytes));
}
static void write_after_free(void *p) {
    core_free(p);
    *(uint64_t *)p = 12345;
    core_malloc(64);
}
static void resize_freed(void *p) { core_free(p), heap_flush(false), core_realloc(p, 10); }
static void resize_inside(void *p) { core_realloc((char *)p + 16, 10); }
static void ask_freed(void *p) { core_free(p), heap_flush(false), core_usable_bytes(p); }
static void ask_inside(void *p) { core_usable_bytes((char *)p + 16); }

enum { REPORTED_ANYWHERE = -1 };
static const struct misuse {
    const char *name;
    size_t bytes;
    void (*act)(void *);
    long offset; /* of the pointer that is reported */
    const char *what;
} table[] = {
    {"twice, at once", 64, free_twice, 0, "double free"},
    {"twice, slab", 5000, free_twice, 0, "double free"},
    {"twice, slab without magazine", 60000, free_twice, 0, "double free"},
    {"twice, large", 300000, free_twice, 0, "double free"},
    {"twice, large and unmapped", 100 << 20, free_twice, 0, "invalid free"},
    {"twice, one between", 64, free_twice_with_one_between, 0, "double free"},
    {"twice, a flush between", 64, free_twice_with_a_flush_between, 0, "double free"},
    {"twice, a flush between, used", 64, use_twice_after_a_flush_between, REPORTED_ANYWHERE, "double free"},
    {"twice, until the end", 64, free_twice_until_the_end, 0, "double free"},
    {"twice, a trim between", 200000, free_twice_with_a_trim_between, 0, "invalid free"},
    {"inside a small block", 64, free_inside, 16, "free of an interior pointer"},
    {"inside a slab's block", 5000, free_inside, 16, "free of an interior pointer"},
    {"inside a large buffer's first page", 300000, free_inside, 16, "free of an interior pointer"},
    {"inside a large buffer", 300000, free_inside_large, OWNER_BYTES, "free of an interior pointer"},
    {"unaligned", 64, free_unaligned, 1, "free of an interior pointer"},
    {"behind the last block", 48, free_behind_the_last_block, REPORTED_ANYWHERE, "free of an interior pointer"},
    {"write after free", 64, write_after_free, 0, "double free or write after free"},
    {"realloc of a freed block", 64, resize_freed, 0, "invalid pointer in realloc"},
    {"realloc inside", 64, resize_inside, 16, "invalid pointer in realloc"},
    {"usable of a freed block", 64, ask_freed, 0, "invalid pointer in malloc_usable_size"},
    {"usable inside", 300000, ask_inside, 16, "invalid pointer in malloc_usable_size"},
};

static void expect_report(const char *name, int status, const char *said, const char *what, const void *pointer) {
    char expected[200];
    if (pointer)
        snprintf(expected, sizeof expected, "lowtide: %s: pointer %p (pid ", what, pointer);
    else
        snprintf(expected, sizeof expected, "lowtide: %s: pointer 0x", what);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status %x, said \"%s\"", name, (unsigned)status, said);
    cr_assert_eq(strncmp(said, expected, strlen(expected)), 0, "%s: said \"%s\", expected \"%s\"", name, said, expected);
    cr_assert_eq(strchr(said, '\n'), said + strlen(said) - 1, "one line: \"%s\"", said);
}

struct attempt {
    void (*act)(void *);
    void *p;
    bool is_forked;
};
static void make_attempt(void *context) {
    const struct attempt *attempt = context;
    if (attempt->is_forked) heap_after_fork();
    attempt->act(attempt->p);
}

static void expect_misuse_said(unsigned row, bool is_forked) {
    const struct misuse *m = &table[row];
    char said[400];
    unsigned around = m->bytes > SLAB_MAX ? 0 : 500;
    for (unsigned i = 0; i < around; i++) core_malloc(m->bytes);
    char *p = core_malloc(m->bytes);
    for (unsigned i = 0; i < around; i++) core_malloc(m->bytes);
    struct attempt attempt = {m->act, p, is_forked};
    int status = unit_in_child(make_attempt, &attempt, said, sizeof said);
    expect_report(m->name, status, said, m->what, m->offset == REPORTED_ANYWHERE ? NULL : p + m->offset);
}

static struct criterion_test_params rows_of_table(void) {
    static unsigned rows[COUNT(table)];
    for (unsigned i = 0; i < COUNT(table); i++) rows[i] = i;
    return cr_make_param_array(unsigned, rows, COUNT(table));
}
ParameterizedTestParameters(report, misuse_is_said_in_exact_words) { return rows_of_table(); }
ParameterizedTest(unsigned *row, report, misuse_is_said_in_exact_words) { expect_misuse_said(*row, false); }

/* The child frees what it inherited without writing into it, so what is written there is not seen. */
ParameterizedTestParameters(report, misuse_of_inherited_blocks_is_said) { return rows_of_table(); }
ParameterizedTest(unsigned *row, report, misuse_of_inherited_blocks_is_said) {
    if (table[*row].act != write_after_free) expect_misuse_said(*row, true);
}

/* ---- pointers that never were ours ---- */

static char statically[64];
static void free_it(void *p) { core_free(p); }
static void resize_it(void *p) { core_realloc(p, 100); }
static void ask_it(void *p) { core_usable_bytes(p); }

static void expect_foreign(void *p) {
    char said[400];
    core_malloc(16);
    expect_report("free", unit_in_child(free_it, p, said, sizeof said), said, "invalid free", p);
    expect_report("realloc", unit_in_child(resize_it, p, said, sizeof said), said, "invalid pointer in realloc", p);
    expect_report("usable", unit_in_child(ask_it, p, said, sizeof said), said, "invalid pointer in malloc_usable_size", p);
}

Test(report, pointer_to_the_stack) {
    int local;
    expect_foreign(&local);
}
Test(report, pointer_to_static_data) { expect_foreign(statically); }
Test(report, pointer_of_another_allocator) {
    void *p = malloc(100);
    expect_foreign(p);
    free(p);
}

/* Nothing near the pointer may be read. */
Test(report, pointer_to_nothing) {
    static const uintptr_t wild[] = {1, 8, 4096, 1ull << 40, (1ull << 47) - 16, 1ull << 47, 1ull << 63, ~0ull, ~0xfull};
    for (unsigned i = 0; i < COUNT(wild); i++) expect_foreign((void *)wild[i]);
}

/* ---- level 0 ---- */

static void use_after_double_free(void *p) {
    static void *got[300];
    core_check_level = 0;
    void *other = core_malloc(64);
    core_free(p), core_free(other), core_free(p);
    for (unsigned i = 0; i < 300; i++) {
        got[i] = core_malloc(64);
        for (unsigned j = 0; j < i; j++)
            if (got[i] == got[j]) report_line("handed out twice");
    }
}

Test(report, level_0_leaves_a_twice_freed_block_unused) {
    char said[400];
    void *p = core_malloc(64);
    cr_assert_eq(unit_in_child(use_after_double_free, p, said, sizeof said), 0);
    cr_assert_str_empty(said);
}

/* ---- the line itself ---- */

Test(report, misuse_ends_with_sigabrt, .signal = SIGABRT, .init = cr_redirect_stderr) {
    void *p = core_malloc(64);
    core_free(p);
    core_free(p);
}

static void free_in_a_thread(unsigned index, void *p) {
    (void)index;
    core_free(p);
}

/* Not in a forked child: TSan makes no threads there. */
Test(report, block_freed_by_two_threads, .signal = SIGABRT, .init = cr_redirect_stderr) {
    void *other = core_malloc(64), *p = core_malloc(64);
    unit_run_threads(1, free_in_a_thread, p);
    unit_run_threads(1, free_in_a_thread, p);
    core_free(other);
}

static void misuse_something(void *pointer) { report_misuse("some words", pointer); }
static void say_pid(void *pointer) {
    fprintf(stderr, "%d ", (int)getpid());
    report_misuse("x", pointer);
}

Test(report, line_has_the_pointer_and_the_process) {
    char said[200], expected[200];
    int pid;
    unit_in_child(misuse_something, (void *)0xdeadbeef01234567, said, sizeof said);
    cr_assert_eq(strncmp(said, "lowtide: some words: pointer 0xdeadbeef01234567 (pid ", 53), 0, "%s", said);
    unit_in_child(say_pid, NULL, said, sizeof said);
    cr_assert_eq(sscanf(said, "%d", &pid), 1);
    snprintf(expected, sizeof expected, "%d lowtide: x: pointer 0x0 (pid %d)\n", pid, pid);
    cr_assert_str_eq(said, expected);
}

static void say_line(void *text) {
    errno = 77;
    report_line(text);
    if (errno != 77) _exit(1);
}

Test(report, plain_line_keeps_errno_and_is_cut_when_too_long) {
    char said[1200], text[1000];
    cr_assert_eq(unit_in_child(say_line, "hello", said, sizeof said), 0);
    cr_assert_str_eq(said, "lowtide: hello\n");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    cr_assert_eq(unit_in_child(say_line, text, said, sizeof said), 0);
    cr_assert_eq(strlen(said), 512);
    cr_assert_eq(said[511], '\n');
}
