/* The parser of the options, driven by the table; for what: options.h.
 *
 * Runs before main, when nothing else has: no allocation, no locale, lines put together on the
 * stack and written with one write(2) each. An option's default is given as text and goes through
 * the parser as the user's value does.
 */
#include "options.h"

#include "../core/line.h"

#include <string.h>
#include <sys/auxv.h>

struct options options;

enum kind { KIND_CHOICE, KIND_TEXT, KIND_SIZE, KIND_NUMBER };

static const struct row {
    enum kind kind;
    const char *variable;
    const char *values; /* the words of a choice; what a text is; the unit of a number */
    int64_t least, most;
    bool takes_percent;
    const char *standard, *help; /* `standard` is NULL for a text */
    void *field;                 /* int, const char *, struct text_size or int64_t */
} rows[] = {
#define CHOICE(field, variable, words, standard, help) \
    {KIND_CHOICE, variable, words, 0, 0, false, standard, help, &options.field},
#define TEXT(field, variable, what, help) \
    {KIND_TEXT, variable, what, 0, 0, false, NULL, help, &options.field},
#define SIZE(field, variable, least, most, takes_percent, standard, help) \
    {KIND_SIZE, variable, "bytes", least, most, takes_percent, standard, help, &options.field},
#define NUMBER(field, variable, unit, least, most, standard, help) \
    {KIND_NUMBER, variable, unit, least, most, false, standard, help, &options.field},
#include "options.def"
#undef CHOICE
#undef TEXT
#undef SIZE
#undef NUMBER
};
enum { ROWS = sizeof rows / sizeof *rows };

/* ---- lines ---- */

static void line_add_range(struct line *line, const struct row *row) {
    line_add_number(line, (uint64_t)row->least, 10);
    line_add(line, " to ");
    line_add_number(line, (uint64_t)row->most, 10);
}

/* "a|b|c", "0 to 100 %", "bytes (K, M, G, T may follow) or a percentage". */
static void line_add_values(struct line *line, const struct row *row) {
    if (row->kind == KIND_NUMBER) {
        line_add_range(line, row);
        line_add(line, " ");
    }
    line_add(line, row->values);
    if (row->kind != KIND_SIZE) return;
    line_add(line, row->takes_percent ? " (K, M, G, T may follow) or a percentage"
                                      : " (K, M, G, T may follow)");
    if (row->least == 0 && row->most == INT64_MAX) return;
    line_add(line, ", ");
    line_add_range(line, row);
}

static void say_bad_value(const struct row *row, const char *value) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: ");
    line_add(&line, row->variable);
    line_add(&line, "=");
    line_add_foreign(&line, value, 64);
    line_add(&line, row->kind == KIND_CHOICE ? " is not one of " : " is not ");
    line_add_values(&line, row);
    line_add(&line, "; using ");
    line_add(&line, row->standard);
    line_write(&line);
}

/* ---- values ---- */

/* The position of `value` among words separated by |, or -1. */
static int find_word(const char *words, const char *value) {
    struct text rest = text_of(words), item;
    for (int i = 0; text_take_until(&rest, '|', &item); i++)
        if (text_is(item, value)) return i;
    return -1;
}

static bool is_in_range(const struct row *row, int64_t number) {
    return number >= row->least && number <= row->most;
}

static bool set_choice(const struct row *row, const char *value) {
    int choice = find_word(row->values, value);
    if (choice >= 0) *(int *)row->field = choice;
    return choice >= 0;
}

/* A text that is empty is as good as unset. */
static bool set_text(const struct row *row, const char *value) {
    *(const char **)row->field = value && *value ? value : NULL;
    return true;
}

/* What is too large for 64 bits is out of every range. */
static bool set_size(const struct row *row, const char *value) {
    struct text_size size;
    if (!text_parse_size(text_of(value), &size) || size.number == INT64_MAX) return false;
    if (size.is_percent ? !row->takes_percent || size.number > 100 : !is_in_range(row, size.number))
        return false;
    *(struct text_size *)row->field = size;
    return true;
}

static bool set_number(const struct row *row, const char *value) {
    struct text rest = text_of(value);
    int64_t number;
    if (!text_take_number(&rest, &number) || rest.bytes || !is_in_range(row, number)) return false;
    *(int64_t *)row->field = number;
    return true;
}

static bool set(const struct row *row, const char *value) {
    static bool (*const setters[])(const struct row *, const char *) = {[KIND_CHOICE] = set_choice,
                                                                        [KIND_TEXT] = set_text,
                                                                        [KIND_SIZE] = set_size,
                                                                        [KIND_NUMBER] = set_number};
    return setters[row->kind](row, value);
}

/* ---- the environment ---- */

static const struct row *find_row(const char *entry) {
    for (int i = 0; i < ROWS; i++) {
        size_t n = strlen(rows[i].variable);
        if (!strncmp(entry, rows[i].variable, n) && entry[n] == '=') return &rows[i];
    }
    return NULL;
}

void options_parse(char *const *environment) {
    for (int i = 0; i < ROWS; i++) set(&rows[i], rows[i].standard);
    if (getauxval(AT_SECURE)) return;
    for (; environment && *environment; environment++) {
        const struct row *row =
            strncmp(*environment, "LOWTIDE_", 8) ? NULL : find_row(*environment);
        if (!row) continue;
        const char *value = strchr(*environment, '=') + 1;
        if (set(row, value)) continue;
        set(row, row->standard);
        say_bad_value(row, value);
    }
}

void options_print_help(void) {
    for (int i = 0; i < ROWS; i++) {
        struct line names = {.used = 0}, help = {.used = 0};
        line_add(&names, rows[i].variable);
        line_pad(&names, 25);
        line_add_values(&names, &rows[i]);
        line_write(&names);
        line_pad(&help, 27);
        line_add(&help, rows[i].help);
        line_add(&help, " (default: ");
        line_add(&help, rows[i].standard ? rows[i].standard : "unset");
        line_add(&help, ")");
        line_write(&help);
    }
}
