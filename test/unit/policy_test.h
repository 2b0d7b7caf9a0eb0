/* What the tests of trim-policy share: readings that are compared whole, and the fixtures. */
#ifndef LOWTIDE_POLICY_TEST_H
#define LOWTIDE_POLICY_TEST_H

#include "../../trim-policy/sample.h"
#include "unit.h"

#include <stdio.h>

#define KIB 1024LL
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* In tables: a number that is not known. */
enum { UNKNOWN = -1 };


#define assert_reading(where, reading, expected) assert_number(where, #reading, reading, expected)
static inline void assert_number(const char *where, const char *what, struct reading reading, int64_t expected) {
    int64_t found = reading.is_known ? reading.value : UNKNOWN;
    cr_assert_eq(found, expected, "%s: %s is %lld, not %lld", where, what, (long long)found, (long long)expected);
}

static inline struct reading reading_of(int64_t number) { return number == UNKNOWN ? (struct reading){0} : known(number); }

#endif
