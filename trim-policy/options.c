#include "options.h"

#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

struct options options;

static const struct row {
    const char *variable, *values, *standard, *help;
    int *choice;       /* or */
    const char **text; /* where the value goes */
} rows[] = {
#define CHOICE(field, variable, words, standard, help) {variable, words, standard, help, &options.field, NULL},
#define TEXT(field, variable, what, help) {variable, what, NULL, help, NULL, &options.field},
#include "options.def"
#undef CHOICE
#undef TEXT
};
enum { ROWS = sizeof rows / sizeof *rows };

static void say(const char *line) {
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written; /* nowhere else to say it */
}

/* The position of `value` among words separated by |, or -1. */
static int find_word(const char *words, const char *value) {
    size_t n = strlen(value);
    for (int i = 0;; i++) {
        size_t word = strcspn(words, "|");
        if (word == n && !strncmp(words, value, n)) return i;
        if (!words[word]) return -1;
        words += word + 1;
    }
}

static void set_choice(const struct row *row, const char *value) {
    int choice = find_word(row->values, value);
    if (choice >= 0) {
        *row->choice = choice;
        return;
    }
    char line[256];
    snprintf(line, sizeof line, "lowtide: %s=%.64s is not one of %s; using %s\n", row->variable, value, row->values, row->standard);
    say(line);
}

static const struct row *find_row(const char *entry) {
    for (int i = 0; i < ROWS; i++) {
        size_t n = strlen(rows[i].variable);
        if (!strncmp(entry, rows[i].variable, n) && entry[n] == '=') return &rows[i];
    }
    return NULL;
}

void options_parse(char *const *environment) {
    for (int i = 0; i < ROWS; i++)
        if (rows[i].choice) *rows[i].choice = find_word(rows[i].values, rows[i].standard);
    if (getauxval(AT_SECURE)) return;
    for (; environment && *environment; environment++) {
        const struct row *row = strncmp(*environment, "LOWTIDE_", 8) ? NULL : find_row(*environment);
        if (!row) continue;
        const char *value = strchr(*environment, '=') + 1;
        if (row->choice)
            set_choice(row, value);
        else if (*value)
            *row->text = value;
    }
}

void options_print_help(void) {
    for (int i = 0; i < ROWS; i++) {
        char line[512];
        snprintf(line, sizeof line, "%-18s %s\n%-18s   %s (default: %s)\n", rows[i].variable, rows[i].values, "", rows[i].help,
                 rows[i].standard ? rows[i].standard : "unset");
        say(line);
    }
}
