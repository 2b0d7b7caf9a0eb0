/* The statistics as one JSON object, and the line of LOWTIDE_VERBOSE. */
#ifndef LOWTIDE_STATS_JSON_H
#define LOWTIDE_STATS_JSON_H

/* Writes the object to stderr ("1") or appends it to a file whose name may hold %p (pid) and %e
 * (program's name). A file that cannot be opened is said in one line; errno is kept. Uses no heap.
 */
__attribute__((visibility("hidden"))) void stats_json_write(const char *where);

/* One line on stderr: version, page size, what Python's objects come from. */
__attribute__((visibility("hidden"))) void stats_json_say_start(void);

#endif
