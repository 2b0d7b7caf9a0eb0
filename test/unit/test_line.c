/* Lines put together on the stack: what is added, what does not fit, and what writing leaves alone. */
#include "unit.h"

#include "../../core/line.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST = sizeof((struct line){0}.text) - 1 }; /* of text; its newline takes the last place */

/* What a child says that writes the line. */
static void write_line(void *line) { line_write(line); }
static const char *written(struct line *line) {
    static char said[2 * sizeof line->text];
    cr_assert_eq(unit_in_child(write_line, line, said, sizeof said), 0);
    return said;
}

static void assert_text(const struct line *line, const char *expected) {
    cr_assert_eq(line->used, strlen(expected));
    cr_assert_eq(memcmp(line->text, expected, line->used), 0, "'%.*s' is not '%s'", (int)line->used, line->text, expected);
}

Test(line, texts_follow_each_other) {
    struct line line = {.used = 0};
    line_add(&line, "");
    assert_text(&line, "");
    line_add(&line, "lowtide: ");
    line_add(&line, "a\tb\n");
    assert_text(&line, "lowtide: a\tb\n");
    cr_assert_str_eq(written(&line), "lowtide: a\tb\n\n");
}

Test(line, empty_line_is_a_newline) { cr_assert_str_eq(written(&(struct line){.used = 0}), "\n"); }

Test(line, numbers) {
    static const struct {
        uint64_t number;
        unsigned base;
        const char *text;
    } rows[] = {
        {0, 10, "0"},
        {0, 16, "0"},
        {9, 10, "9"},
        {10, 10, "10"},
        {255, 16, "ff"},
        {0x7f0123456789ab, 16, "7f0123456789ab"},
        {INT64_MAX, 10, "9223372036854775807"},
        {UINT64_MAX, 10, "18446744073709551615"},
        {UINT64_MAX, 16, "ffffffffffffffff"},
        {UINT64_MAX, 8, "1777777777777777777777"},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct line line = {.used = 0};
        line_add_number(&line, rows[i].number, rows[i].base);
        assert_text(&line, rows[i].text);
    }
}

Test(line, foreign_text_cannot_break_the_line) {
    static const struct {
        const char *text;
        size_t most;
        const char *added;
    } rows[] = {
        {"", 64, ""},
        {"plain ~", 64, "plain ~"},
        {"plain", 0, ""},
        {"plain", 3, "pla"},
        {"plain", 5, "plain"},
        {"a\nb\rc\td", 64, "a?b?c?d"},
        {"\033[31mred\177", 64, "?[31mred?"},
        {"\001\037 ", 64, "?? "},
        {"\xc3\xa4\xff\x80", 64, "\xc3\xa4\xff\x80"}, /* a name in UTF-8, or whatever it is */
        {"\n\n\n", 2, "??"},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct line line = {.used = 0};
        line_add_foreign(&line, rows[i].text, rows[i].most);
        assert_text(&line, rows[i].added);
    }
}

/* Without an end within what may be read. */
Test(line, foreign_text_is_not_read_beyond_its_most) {
    char *text = malloc(3);
    struct line line = {.used = 0};
    memcpy(text, "abc", 3);
    line_add_foreign(&line, text, 3);
    assert_text(&line, "abc");
    free(text);
}

Test(line, padding) {
    struct line line = {.used = 0};
    line_pad(&line, 0);
    assert_text(&line, "");
    line_add(&line, "ab");
    line_pad(&line, 5);
    assert_text(&line, "ab   ");
    line_pad(&line, 3);
    assert_text(&line, "ab   ");
    line_add(&line, "c");
    assert_text(&line, "ab   c");
}

/* ---- what does not fit ---- */

static char filler[2000];
static void add_to_end(struct line *line, int left) {
    memset(filler, 'x', sizeof filler - 1);
    filler[MOST - left] = 0;
    line_add(line, filler);
    cr_assert_eq(line->used, (size_t)(MOST - left));
}

static void add_much(struct line *line) { line_add(line, "0123456789012345678901234567890"); }
static void add_number(struct line *line) { line_add_number(line, UINT64_MAX, 10); }
static void add_foreign(struct line *line) { line_add_foreign(line, "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", 1000); }
static void pad_to_end(struct line *line) { line_pad(line, MOST); }
static void add_everything(struct line *line) { add_much(line), add_number(line), add_foreign(line), pad_to_end(line), add_much(line); }

static void (*const adders[])(struct line *) = {add_much, add_number, add_foreign, pad_to_end, add_everything};

Test(line, what_does_not_fit_is_left_out) {
    for (unsigned a = 0; a < COUNT(adders); a++)
        for (int left = 0; left < 10; left++) {
            struct {
                struct line line;
                char behind[16];
            } guarded = {.line = {.used = 0}};
            memset(guarded.behind, 0x5a, sizeof guarded.behind);
            add_to_end(&guarded.line, left);
            adders[a](&guarded.line);
            cr_assert_eq(guarded.line.used, MOST, "adder %u, %d left", a, left);
            cr_assert_eq(guarded.line.text[MOST - left - 1], 'x', "what was there stays");
            const char *text = written(&guarded.line);
            cr_assert_eq(strlen(text), MOST + 1u);
            cr_assert_eq(text[MOST], '\n');
            for (unsigned i = 0; i < sizeof guarded.behind; i++) cr_assert_eq(guarded.behind[i], 0x5a, "written behind the line");
        }
}

Test(line, column_that_the_line_does_not_have_is_not_padded_to) {
    struct line line = {.used = 0};
    line_pad(&line, sizeof line.text);
    line_pad(&line, SIZE_MAX);
    cr_assert_eq(line.used, 0);
}

/* ---- writing ---- */

/* In this process: nothing of it may be allocated, and errno is the caller's. */
Test(line, writing_keeps_errno) {
    struct line line = {.used = 0}, other = {.used = 0};
    int ends[2], saved = dup(STDERR_FILENO);
    char found[8] = "";
    cr_assert_eq(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    errno = 4711;
    line_add(&line, "abc");
    line_write(&line);
    int after = errno;
    close(STDERR_FILENO);
    errno = 4712;
    line_write(&other); /* fails */
    int after_failure = errno;
    dup2(saved, STDERR_FILENO);
    cr_assert_eq(after, 4711);
    cr_assert_eq(after_failure, 4712);
    cr_assert_eq(read(ends[0], found, sizeof found), 4);
    cr_assert_str_eq(found, "abc\n");
}
