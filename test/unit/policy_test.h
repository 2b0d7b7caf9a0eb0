/* What the tests of trim-policy share: readings that are compared whole, the fixtures, a machine whose files the test writes, and a
 * clock that the test drives. */
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

/* ---- a machine whose files the test writes ---- */

/* A new directory that stands for /, without anything in it. One a test; machine_remove takes it away. */
const char *machine_make(void);
void machine_remove(void);

/* Writes the file of that name beneath it ("/proc/meminfo"), and the directories on the way there. */
void machine_write(const char *name, const char *text);

/* /proc/meminfo of a machine that has so much memory. */
void machine_set_memory(int64_t total_mib, int64_t available_mib);

/* ---- a clock that the test drives ---- */

extern _Atomic(int64_t) driven_ms;
int64_t driven_clock(void);

/* ---- policy on that machine, by that clock ---- */

/* Options: one "LOWTIDE_X=..." or NULL. The machine has 1024 MiB, 1000 of them available, and was looked at a second ago; so its
 * minimum is 51 MiB and its low watermark 459 MiB. The calling thread has a heap, with nothing in it. */
void policy_start(const char *option);

/* What to have available for each level on that machine, in MiB. */
extern const int64_t available_for_level[];

/* Allocates so many pages in blocks of one ring and frees them; the thread's magazines are empty afterwards. */
void retain_in(unsigned ring, int64_t pages);
int64_t retained_in(unsigned ring);

/* Housekeeping as a slow path does it, after so many ms on the driven clock. */
void housekeep_after(int64_t ms);

/* Gives the machine as little as the level means and keeps house, a second apart, until policy is there. From low that takes
 * something to give back. */
void reach_level(int level);

#endif
