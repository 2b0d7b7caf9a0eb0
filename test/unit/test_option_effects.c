/* Each option has an effect that a test shows: which one, by option. An option without a line here does not compile, and a test that is
 * gone or has another name fails. */
#include "unit.h"

#include <stdio.h>

#define UNIT(file, test)  "test/unit/" file, "Test(" test
#define TRAPS(name)       "test/traps/traps.py", "yield \"" name "\""
#define FAULTS(name)      "test/faults/faults.py", "yield \"" name
#define IN_FILE(file, text) file, text

#define SHOWN_check        {UNIT("test_policy.c", "policy, check_level)"), FAULTS("lookalike marks with LOWTIDE_CHECK=0\""), UNIT("test_check.c", "check, a_freed_block_waits)")}
#define SHOWN_children     {TRAPS("LOWTIDE_CHILDREN=0")}
#define SHOWN_help         {TRAPS("LOWTIDE_HELP=1")}
#define SHOWN_housekeep    {UNIT("test_keeper.c", "keeper, it_starts_at_the_first_housekeeping)"), TRAPS("LOWTIDE_HOUSEKEEP=thread")}
#define SHOWN_live         {UNIT("test_live.c", "live, there_is_none_when_it_is_switched_off)"), IN_FILE("test/live/live.py", "yield \"LOWTIDE_LIVE=0\"")}
#define SHOWN_minmem_free  {UNIT("test_levels.c", "levels, minimum_by_option)"), TRAPS("LOWTIDE_ROOT, LOWTIDE_MINMEM_*")}
#define SHOWN_minmem_pct_free  SHOWN_minmem_free
#define SHOWN_minmem_pct_total SHOWN_minmem_free
#define SHOWN_profile      {UNIT("test_levels.c", "levels, profiles_have_limits_of_their_own)")}
#define SHOWN_python       {TRAPS("statistics of python"), IN_FILE("test/traps/traps.py", "LOWTIDE_PYTHON=\"off\"")}
#define SHOWN_return_how                                                                                                                 \
    {UNIT("test_policy.c", "policy, memory_may_be_released_but_never_unmapped)"), UNIT("test_policy.c", "policy, memory_may_be_returned_lazily)"), \
     FAULTS("lookalike errno with LOWTIDE_RETURN=free\"")}
#define SHOWN_root         {TRAPS("LOWTIDE_ROOT, LOWTIDE_MINMEM_*")}
#define SHOWN_stats        {TRAPS("statistics of a C program"), TRAPS("statistics of a forked child, %p and %e"), TRAPS("statistics that cannot be written")}
#define SHOWN_thp          {UNIT("test_policy.c", "policy, huge_pages_may_stay)"), TRAPS("no huge pages under the heap")}
#define SHOWN_verbose      {UNIT("test_levels.c", "levels, verbose_says_the_level)"), TRAPS("LOWTIDE_VERBOSE=1")}

enum { MOST_PLACES = 3 };
static const struct {
    const char *variable;
    const char *place[2 * MOST_PLACES]; /* a file and what it must have, by twos */
} rows[] = {
#define CHOICE(field, variable, words, standard, help)                    {variable, SHOWN_##field},
#define TEXT(field, variable, what, help)                                 {variable, SHOWN_##field},
#define SIZE(field, variable, least, most, takes_percent, standard, help) {variable, SHOWN_##field},
#define NUMBER(field, variable, unit, least, most, standard, help)        {variable, SHOWN_##field},
#include "../../trim-policy/options.def"
#undef CHOICE
#undef TEXT
#undef SIZE
#undef NUMBER
};

static char text[1 << 20];
static bool has_text(const char *name, const char *wanted) {
    FILE *f = fopen(name, "r");
    if (!f) return false;
    size_t bytes = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[bytes] = 0;
    return strstr(text, wanted);
}

Test(option_effects, each_is_shown_by_a_test) {
    for (unsigned i = 0; i < COUNT(rows); i++) {
        cr_assert_not_null(rows[i].place[0], "%s", rows[i].variable);
        for (unsigned p = 0; p < COUNT(rows[i].place) && rows[i].place[p]; p += 2)
            cr_assert(has_text(rows[i].place[p], rows[i].place[p + 1]), "%s: %s has no '%s'", rows[i].variable, rows[i].place[p], rows[i].place[p + 1]);
    }
}
