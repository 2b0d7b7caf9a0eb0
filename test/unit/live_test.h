/* What the tests of live statistics share: a process whose pages lie beneath a machine of the test's own, and a reader of them. */
#ifndef LOWTIDE_LIVE_TEST_H
#define LOWTIDE_LIVE_TEST_H

#include "policy_test.h"

#include "../../trim-policy/live.h"

extern char live_directory[100]; /* that pages are in */
extern void *live_held;

/* policy_start where pages can be made; with so much held that one is due, once the process is old enough. */
void live_begin(const char *option);
void live_begin_holding(const char *option);
void live_hold(void);

/* The file of a process; false = there is none. */
bool live_find_file(int pid, char path[200]);
bool live_has_file(void); /* of this one */

/* A page as a reader maps it, or NULL. */
struct live_page *live_map_page(int pid);

/* False where the snapshot is not whole. */
bool live_read_snapshot(struct live_page *page, struct live_values *values);

/* Of this process. */
struct live_values live_snapshot(void);

#endif
