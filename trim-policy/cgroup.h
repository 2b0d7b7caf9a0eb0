/* Memory limits of the control groups the process is in: v2, v1 and hybrids of both.
 *
 * Two steps. `cgroup_locate` finds the directory of the process's own group: /proc/self/cgroup
 * names the group of each hierarchy, /proc/self/mountinfo says where hierarchies are mounted and
 * which group is the root of that mount. Then `cgroup_read` reads that directory and every one
 * above it up to the mount point, and keeps the level with the least headroom: an ancestor's limit
 * binds whether or not the own group has one, and an ancestor's usage has the siblings in it.
 *
 * Namespaces and bind mounts: both files name groups relative to the root of the reader's cgroup
 * namespace, so the group's directory is the mount point plus what the name has below the mount's
 * root. Where the name is not below it, a mount that shows a part of the hierarchy (root other than
 * "/") is taken for the container's own, as the engines that mount so mean it; a name outside the
 * namespace ("/../x") under a mount of the namespace's root is not visible, and nothing is known.
 *
 * Nothing here is fatal: what cannot be read is not known. Levels that cannot be read are passed
 * over.
 */
#ifndef LOWTIDE_CGROUP_H
#define LOWTIDE_CGROUP_H

#include "text.h"

enum { CGROUP_NAME_BYTES = 1024 };

/* The process's groups as /proc/self/cgroup names them; "" = none, or longer than the buffer. */
struct cgroup_names {
    char memory[CGROUP_NAME_BYTES];  /* in the v1 hierarchy that has the memory controller */
    char unified[CGROUP_NAME_BYTES]; /* in v2 */
};

struct cgroup_directory {
    char path[CGROUP_NAME_BYTES]; /* of the own group, without the fake root; "" = not found */
    size_t mount_bytes;           /* of `path`: the mount point, where ancestors end */
    size_t hidden_bytes;          /* length of the mount's root: what lies above is not visible */
    bool is_guess;                /* the name was not below the mount's root */
};
struct cgroup_place {
    struct cgroup_directory memory;  /* v1 */
    struct cgroup_directory unified; /* v2 */
};

/* What one directory says. In v1 the limit has all ancestors in it, also those that are not
 * visible. */
struct cgroup_level {
    struct reading limit_bytes; /* NO_LIMIT where it has none */
    struct reading usage_bytes;
    struct reading inactive_bytes; /* inactive file cache, which the kernel drops first; of the
                                      whole subtree */
};

struct cgroup {
    int version;                   /* of the hierarchy that was read: 1, 2; 0 = none */
    unsigned depth;                /* the tightest level: 0 = the own group, 1 = its parent, ... */
    struct reading limit_bytes;    /* of the tightest level; not known when no level has a limit */
    struct reading working_bytes;  /* of that level: usage less inactive file cache */
    struct reading headroom_bytes; /* limit less working set, at least 0 */
    struct reading swap_bytes;     /* the own group's */
};

/* ---- pure ---- */

/* Takes over what a line of /proc/self/cgroup says. Begin with *names zeroed. */
HIDDEN void cgroup_parse_name(struct text line, struct cgroup_names *names);

/* Takes over what a line of /proc/self/mountinfo says, if it is better than what `place` has. Begin
 * with *place zeroed. */
HIDDEN void cgroup_parse_mount(struct text line, const struct cgroup_names *names,
                               struct cgroup_place *place);

/* Limit = the smaller of high and max. */
HIDDEN void cgroup_parse_level_v2(struct text high, struct text max, struct text current,
                                  struct text stat, struct cgroup_level *level);
HIDDEN void cgroup_parse_level_v1(struct text usage, struct text stat, struct cgroup_level *level);

/* Takes `level` for the tightest if it is, or if it is the first. */
HIDDEN void cgroup_consider_level(struct cgroup *cgroup, const struct cgroup_level *level,
                                  unsigned depth);

/* Shortens the directory to its parent's; false at the mount point. */
HIDDEN bool cgroup_go_up(const struct cgroup_directory *directory, size_t *bytes);

/* ---- reading ---- */

HIDDEN void cgroup_locate(const char *root, struct cgroup_place *place);
HIDDEN void cgroup_read(const char *root, const struct cgroup_place *place, struct cgroup *cgroup);

/* A number that changes when the process is moved to another group: of the bytes of
 * /proc/self/cgroup. */
HIDDEN uint64_t cgroup_fingerprint(const char *root);

#endif
