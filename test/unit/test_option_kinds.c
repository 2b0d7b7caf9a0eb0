/* The table of options: each kind's values, and what is said of bad ones. */
#include "unit.h"

#include "../../trim-policy/options.h"

#include <stdio.h>
#include <sys/auxv.h>
#include <sys/wait.h>

static void parse(const char *entry) {
    char *const environment[] = {"HOME=/", (char *)entry, "LOWTIDE=1", "LOWTIDE_UNKNOWN=1", NULL};
    options_parse(environment);
}

static void parse_in_child(void *entry) { parse(entry); }

static const char *said_of(const char *entry) {
    static char said[1024];
    int status = unit_in_child(parse_in_child, (void *)entry, said, sizeof said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", entry);
    return said;
}

static void assert_defaults(const char *after) {
    cr_assert_eq(options.check, 1, "%s", after);
    cr_assert_eq(options.children, 1, "%s", after);
    cr_assert_eq(options.help, 0, "%s", after);
    cr_assert_eq(options.minmem_free.number, 0, "%s", after);
    cr_assert_not(options.minmem_free.is_percent, "%s", after);
    cr_assert_eq(options.minmem_pct_free, 0, "%s", after);
    cr_assert_eq(options.minmem_pct_total, 0, "%s", after);
    cr_assert_eq(options.profile, PROFILE_BALANCED, "%s", after);
    cr_assert_eq(options.python, 1, "%s", after);
    cr_assert_eq(options.return_how, RETURN_UNMAP, "%s", after);
    cr_assert_null(options.stats, "%s", after);
    cr_assert_eq(options.thp, 0, "%s", after);
    cr_assert_eq(options.verbose, 0, "%s", after);
}

Test(option_kinds, defaults) {
    options_parse(NULL);
    assert_defaults("no environment");
    parse("LOWTIDE_CHECKS=0");
    assert_defaults("a name that only begins like an option's");
    cr_assert_str_empty(said_of("LOWTIDE_CHECKS=0"));
}

Test(option_kinds, choices) {
    static const struct {
        const char *entry;
        int *field, value;
    } rows[] = {
        {"LOWTIDE_PROFILE=tight", &options.profile, PROFILE_TIGHT},
        {"LOWTIDE_PROFILE=balanced", &options.profile, PROFILE_BALANCED},
        {"LOWTIDE_PROFILE=throughput", &options.profile, PROFILE_THROUGHPUT},
        {"LOWTIDE_RETURN=free", &options.return_how, RETURN_FREE},
        {"LOWTIDE_CHECK=0", &options.check, 0},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        parse(rows[i].entry);
        cr_assert_eq(*rows[i].field, rows[i].value, "%s", rows[i].entry);
        cr_assert_str_empty(said_of(rows[i].entry));
    }
}

Test(option_kinds, sizes_and_numbers) {
    static const struct {
        const char *entry;
        int64_t *field, value;
    } rows[] = {
        {"LOWTIDE_MINMEM_FREE=0", &options.minmem_free.number, 0},
        {"LOWTIDE_MINMEM_FREE=4096", &options.minmem_free.number, 4096},
        {"LOWTIDE_MINMEM_FREE=64k", &options.minmem_free.number, 64 << 10},
        {"LOWTIDE_MINMEM_FREE=2G", &options.minmem_free.number, 2LL << 30},
        {"LOWTIDE_MINMEM_FREE=3TiB", &options.minmem_free.number, 3LL << 40},
        {"LOWTIDE_MINMEM_PCT_TOTAL=0", &options.minmem_pct_total, 0},
        {"LOWTIDE_MINMEM_PCT_TOTAL=100", &options.minmem_pct_total, 100},
        {"LOWTIDE_MINMEM_PCT_FREE=007", &options.minmem_pct_free, 7},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        parse(rows[i].entry);
        cr_assert_eq(*rows[i].field, rows[i].value, "%s", rows[i].entry);
        cr_assert_str_empty(said_of(rows[i].entry));
    }
}

Test(option_kinds, texts) {
    parse("LOWTIDE_STATS=/tmp/a=b.json");
    cr_assert_str_eq(options.stats, "/tmp/a=b.json");
    parse("LOWTIDE_STATS=");
    cr_assert_null(options.stats);
}

/* One line; the default is used, also for what is out of range. */
Test(option_kinds, bad_values) {
    static const struct {
        const char *entry, *said;
    } rows[] = {
        {"LOWTIDE_PROFILE=fast", "lowtide: LOWTIDE_PROFILE=fast is not one of tight|balanced|throughput; using balanced\n"},
        {"LOWTIDE_PROFILE=", "lowtide: LOWTIDE_PROFILE= is not one of tight|balanced|throughput; using balanced\n"},
        {"LOWTIDE_PROFILE=tight|balanced", "lowtide: LOWTIDE_PROFILE=tight|balanced is not one of tight|balanced|throughput; using balanced\n"},
        {"LOWTIDE_PROFILE=Tight", "lowtide: LOWTIDE_PROFILE=Tight is not one of tight|balanced|throughput; using balanced\n"},
        {"LOWTIDE_CHECK=a\nb\033", "lowtide: LOWTIDE_CHECK=a?b? is not one of 0|1|2; using 1\n"},
        {"LOWTIDE_CHECK=%s%n", "lowtide: LOWTIDE_CHECK=%s%n is not one of 0|1|2; using 1\n"},
        {"LOWTIDE_MINMEM_FREE=lots", "lowtide: LOWTIDE_MINMEM_FREE=lots is not bytes (K, M, G, T may follow); using 0\n"},
        {"LOWTIDE_MINMEM_FREE=", "lowtide: LOWTIDE_MINMEM_FREE= is not bytes (K, M, G, T may follow); using 0\n"},
        {"LOWTIDE_MINMEM_FREE=-1", "lowtide: LOWTIDE_MINMEM_FREE=-1 is not bytes (K, M, G, T may follow); using 0\n"},
        {"LOWTIDE_MINMEM_FREE=5%", "lowtide: LOWTIDE_MINMEM_FREE=5% is not bytes (K, M, G, T may follow); using 0\n"},
        {"LOWTIDE_MINMEM_FREE=9999999T", "lowtide: LOWTIDE_MINMEM_FREE=9999999T is not bytes (K, M, G, T may follow); using 0\n"},
        {"LOWTIDE_MINMEM_PCT_FREE=101", "lowtide: LOWTIDE_MINMEM_PCT_FREE=101 is not 0 to 100 %; using 0\n"},
        {"LOWTIDE_MINMEM_PCT_TOTAL=5%", "lowtide: LOWTIDE_MINMEM_PCT_TOTAL=5% is not 0 to 100 %; using 0\n"},
        {"LOWTIDE_MINMEM_PCT_TOTAL=99999999999999999999", "lowtide: LOWTIDE_MINMEM_PCT_TOTAL=99999999999999999999 is not 0 to 100 %; using 0\n"},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) cr_assert_str_eq(said_of(rows[i].entry), rows[i].said);
}

Test(option_kinds, a_bad_value_leaves_the_default) {
    static const char *const rows[] = {"LOWTIDE_PROFILE=fast", "LOWTIDE_CHECK=", "LOWTIDE_MINMEM_FREE=5%", "LOWTIDE_MINMEM_PCT_FREE=101"};
    cr_assert_not_null(freopen("/dev/null", "w", stderr)); /* what is said is another test's */
    for (unsigned i = 0; i < COUNT(rows); i++) {
        parse(rows[i]);
        assert_defaults(rows[i]);
    }
}

Test(option_kinds, a_bad_value_after_a_good_one_gives_the_default) {
    static char *const environment[] = {"LOWTIDE_PROFILE=tight", "LOWTIDE_PROFILE=bad", NULL};
    cr_assert_not_null(freopen("/dev/null", "w", stderr));
    options_parse(environment);
    assert_defaults("said so");
}

Test(option_kinds, a_long_value_is_shown_in_part) {
    char entry[4096] = "LOWTIDE_PROFILE=";
    memset(entry + strlen(entry), 'x', sizeof entry - strlen(entry) - 1);
    const char *said = said_of(entry);
    cr_assert_leq(strlen(said), 200);
    cr_assert_not_null(strstr(said, "xxx is not one of tight|balanced|throughput; using balanced\n"));
}

Test(option_kinds, raised_privileges_get_the_defaults) {
    static char *const environment[] = {"LOWTIDE_CHECK=0", "LOWTIDE_PROFILE=bad", "LOWTIDE_STATS=/etc/shadow", "LOWTIDE_MINMEM_FREE=1G", NULL};
    unit_set_auxval(AT_SECURE, 1);
    options_parse(environment);
    assert_defaults("AT_SECURE");
    cr_assert_str_empty(said_of("LOWTIDE_PROFILE=bad"));
}

static void print_help(void *context) {
    (void)context;
    options_print_help();
}

/* Each row of the table is listed, with its default. */
Test(option_kinds, help_lists_every_row) {
    static char said[8192];
    unit_in_child(print_help, NULL, said, sizeof said);
#define CHOICE(field, variable, words, standard, help) assert_listed(said, variable, words, standard);
#define TEXT(field, variable, what, help) assert_listed(said, variable, what, "unset");
#define SIZE(field, variable, least, most, takes_percent, standard, help) assert_listed(said, variable, "bytes", standard);
#define NUMBER(field, variable, unit, least, most, standard, help) assert_listed(said, variable, #least " to " #most " " unit, standard);
#define assert_listed(text, variable, values, standard)                                                     \
    do {                                                                                                    \
        const char *row_ = strstr(text, variable " ");                                                      \
        cr_assert_not_null(row_, "%s", variable);                                                           \
        const char *values_ = strstr(row_, values), *default_ = strstr(row_, "(default: " standard ")\n"); \
        cr_assert(values_ && default_ && values_ < default_, "%s", variable);                               \
    } while (0)
#include "../../trim-policy/options.def"
}
