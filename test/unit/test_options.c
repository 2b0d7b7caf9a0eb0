/* Options: every row of the table is parsed, listed and has its default. What the kinds take and refuse: test_option_kinds.c. */
#include "unit.h"

#include "../../trim-policy/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

static const struct row {
    const char *variable, *words, *standard, *help;
    size_t offset; /* of the field */
    bool is_choice, is_text;
} rows[] = {
#define CHOICE(field, variable, words, standard, help) {variable, words, standard, help, offsetof(struct options, field), true, false},
#define TEXT(field, variable, what, help) {variable, what, NULL, help, offsetof(struct options, field), false, true},
#define SIZE(field, variable, least, most, takes_percent, standard, help) \
    {variable, "", standard, help, offsetof(struct options, field), false, false},
#define NUMBER(field, variable, unit, least, most, standard, help) {variable, "", standard, help, offsetof(struct options, field), false, false},
#include "../../trim-policy/options.def"
#undef CHOICE
#undef TEXT
#undef SIZE
#undef NUMBER
};

static int choice_of(const struct row *row) { return *(int *)((char *)&options + row->offset); }
static const char *text_in(const struct row *row) { return *(const char **)((char *)&options + row->offset); }

static void parse_one(void *entry) {
    char *environment[] = {"PATH=/bin", entry, "HOME=/", NULL};
    options_parse(environment);
}

static const char *said_about(char *entry) {
    static char said[2000];
    cr_assert_eq(unit_in_child(parse_one, entry, said, sizeof said), 0);
    return said;
}

/* The n-th of words separated by |; false past the last. */
static bool word_at(const char *words, int n, char *value, size_t room) {
    for (; n && words; n--) words = (words = strchr(words, '|')) ? words + 1 : NULL;
    if (!words) return false;
    snprintf(value, room, "%.*s", (int)strcspn(words, "|"), words);
    return true;
}

static int position_of(const struct row *row, const char *wanted) {
    char value[64];
    for (int i = 0; word_at(row->words, i, value, sizeof value); i++)
        if (!strcmp(value, wanted)) return i;
    return -1;
}

Test(options, names_are_unique_and_ours) {
    for (unsigned i = 0; i < COUNT(rows); i++) {
        cr_assert_eq(strncmp(rows[i].variable, "LOWTIDE_", 8), 0);
        cr_assert_neq(rows[i].help[0], 0);
        for (unsigned j = 0; j < i; j++) cr_assert_str_neq(rows[i].variable, rows[j].variable);
    }
}

static void expect_defaults(void) {
    for (unsigned i = 0; i < COUNT(rows); i++) {
        if (rows[i].is_choice) cr_assert_eq(choice_of(&rows[i]), position_of(&rows[i], rows[i].standard), "%s", rows[i].variable);
        if (rows[i].is_text) cr_assert_null(text_in(&rows[i]));
    }
}

Test(options, without_an_environment_there_are_defaults) {
    char *none[] = {NULL};
    memset(&options, 0x55, sizeof options);
    options_parse(none);
    expect_defaults();
    memset(&options, 0x55, sizeof options);
    options_parse(NULL);
    expect_defaults();
}

Test(options, every_word_of_every_choice_is_taken) {
    char value[64], entry[200];
    for (unsigned i = 0; i < COUNT(rows); i++)
        for (int n = 0; rows[i].is_choice && word_at(rows[i].words, n, value, sizeof value); n++) {
            snprintf(entry, sizeof entry, "%s=%s", rows[i].variable, value);
            parse_one(entry);
            cr_assert_eq(choice_of(&rows[i]), n, "%s", entry);
            cr_assert_str_empty(said_about(entry));
        }
}

static const char *const bad[] = {"", " ", "x", "-1", "0|1", "|", "1 ", "ONE"};

Test(options, bad_choice_is_said_once_and_replaced) {
    for (unsigned i = 0; i < COUNT(rows); i++)
        for (unsigned b = 0; rows[i].is_choice && b < COUNT(bad); b++) {
            char entry[200], expected[400];
            snprintf(entry, sizeof entry, "%s=%s", rows[i].variable, bad[b]);
            snprintf(expected, sizeof expected, "lowtide: %s is not one of %s; using %s\n", entry, rows[i].words, rows[i].standard);
            cr_assert_str_eq(said_about(entry), expected);
        }
}

static void parse_bad_and_check(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < COUNT(rows); i++) {
        char good[200], worse[200], value[64];
        if (!rows[i].is_choice) continue;
        word_at(rows[i].words, position_of(&rows[i], rows[i].standard) == 0, value, sizeof value);
        snprintf(good, sizeof good, "%s=%s", rows[i].variable, value);
        snprintf(worse, sizeof worse, "%s=bad", rows[i].variable);
        char *environment[] = {good, worse, NULL};
        options_parse(environment);
        if (choice_of(&rows[i]) != position_of(&rows[i], rows[i].standard)) abort();
    }
}

Test(options, bad_choice_after_a_good_one_is_the_default) {
    static char said[5000];
    cr_assert_eq(unit_in_child(parse_bad_and_check, NULL, said, sizeof said), 0);
}

Test(options, text_is_kept_and_empty_is_unset) {
    char entry[200];
    for (unsigned i = 0; i < COUNT(rows); i++) {
        if (!rows[i].is_text) continue;
        snprintf(entry, sizeof entry, "%s=/tmp/a=b %%p", rows[i].variable);
        parse_one(entry);
        cr_assert_str_eq(text_in(&rows[i]), "/tmp/a=b %p");
        strchr(entry, '=')[1] = 0;
        parse_one(entry);
        cr_assert_null(text_in(&rows[i]));
    }
}

Test(options, other_variables_are_not_ours) {
    static char *others[] = {"LOWTIDE_CHECK", "LOWTIDE_CHECKS=7", "LOWTIDE_=1", "LOWTIDE_NO_SUCH=1", "XLOWTIDE_CHECK=7", "lowtide_check=7", "=", ""};
    for (unsigned i = 0; i < COUNT(others); i++) {
        cr_assert_str_empty(said_about(others[i]));
        parse_one(others[i]);
        expect_defaults();
    }
}

Test(options, the_last_of_several_counts) {
    char *environment[] = {"LOWTIDE_CHECK=0", "LOWTIDE_VERBOSE=1", "LOWTIDE_CHECK=1", "LOWTIDE_RETURN=free", NULL};
    options_parse(environment);
    cr_assert(options.check == 1 && options.verbose == 1 && options.return_how == RETURN_FREE);
}

Test(options, raised_privileges_get_the_defaults) {
    char *environment[] = {"LOWTIDE_CHECK=0", "LOWTIDE_STATS=/etc/passwd", "LOWTIDE_RETURN=bad", NULL};
    options_parse((char *[]){"LOWTIDE_CHECK=0", "LOWTIDE_STATS=x", NULL});
    cr_assert(options.check == 0 && options.stats);
    unit_set_auxval(AT_SECURE, 1);
    options_parse(environment);
    expect_defaults();
}

static void print_help(void *unused) {
    (void)unused;
    options_print_help();
}

Test(options, help_lists_every_row) {
    static char said[20000];
    cr_assert_eq(unit_in_child(print_help, NULL, said, sizeof said), 0);
    for (unsigned i = 0; i < COUNT(rows); i++) {
        const char *at = strstr(said, rows[i].variable);
        cr_assert_not_null(at, "%s", rows[i].variable);
        cr_assert(at == said || at[-1] == '\n');
        cr_assert_not_null(strstr(at, rows[i].help), "%s", rows[i].variable);
        cr_assert_not_null(strstr(strstr(at, rows[i].help), rows[i].standard ? rows[i].standard : "unset"));
    }
}
