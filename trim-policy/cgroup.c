/* For what: cgroup.h. This file finds the directories and compares levels; cgroup_read.c reads. */
#include "cgroup.h"

#include <string.h>

/* "ID:controllers:name"; in v2 the ID is 0 and there are no controllers. A name may hold colons. */
void cgroup_parse_name(struct text line, struct cgroup_names *names) {
    struct text id, controllers;
    if (!text_take_until(&line, ':', &id) || !text_take_until(&line, ':', &controllers)) return;
    if (!line.bytes || *line.at != '/' || line.bytes >= CGROUP_NAME_BYTES) return;
    bool is_unified = text_is(id, "0") && !controllers.bytes;
    if (!is_unified && !text_list_has(controllers, "memory")) return;
    char *to = is_unified ? names->unified : names->memory;
    memcpy(to, line.at, line.bytes);
    to[line.bytes] = 0;
}

/* The columns of a line of mountinfo; `root` and `point` as they are written there. */
struct mount {
    struct text root, point, type, options;
};

/* "36 35 98:0 /root /point rw,relatime shared:1 - type source options": a lone "-" ends columns
 * that vary in number. */
static bool split_mount(struct text line, struct mount *mount) {
    struct text word;
    for (int column = 0; column < 6; column++) {
        if (!text_take_word(&line, &word)) return false;
        if (column == 3) mount->root = word;
        if (column == 4) mount->point = word;
    }
    do
        if (!text_take_word(&line, &word)) return false;
    while (!text_is(word, "-"));
    return text_take_word(&line, &mount->type) && text_take_word(&line, &word) &&
           text_take_word(&line, &mount->options);
}

static bool is_or_begins(const char *path, const char *component) {
    size_t n = strlen(component);
    return !strncmp(path, component, n) && (path[n] == '/' || !path[n]);
}

/* What `name` has below `root`, or NULL; "" for the root itself. */
static const char *below(const char *name, const char *root) {
    const char *rest = !strcmp(root, "/")         ? name
                       : is_or_begins(name, root) ? name + strlen(root)
                                                  : NULL;
    if (!rest || is_or_begins(rest, "/..")) return NULL;
    return !strcmp(rest, "/") ? "" : rest;
}

/* A mount that contains the name beats a guess; one that shows more ancestors beats one that shows
 * fewer; then the later, which may cover the earlier. */
static bool is_better(const struct cgroup_directory *now, const struct cgroup_directory *found) {
    if (!now->path[0]) return true;
    if (now->is_guess != found->is_guess) return now->is_guess;
    return found->hidden_bytes <= now->hidden_bytes;
}

static void consider_mount(const struct mount *mount, const char *name,
                           struct cgroup_directory *directory) {
    char root[CGROUP_NAME_BYTES];
    struct cgroup_directory found;
    if (!text_decode_octal(mount->root, root, sizeof root)) return;
    if (!text_decode_octal(mount->point, found.path, sizeof found.path) || found.path[0] != '/')
        return;
    const char *rest = below(name, root);
    bool is_whole = !strcmp(root, "/");
    if (!rest && is_whole) return;
    found.is_guess = !rest;
    found.hidden_bytes = is_whole ? 0 : strlen(root);
    found.mount_bytes = strlen(found.path);
    if (rest) {
        if (found.mount_bytes + strlen(rest) >= sizeof found.path) return;
        strcpy(found.path + found.mount_bytes, rest);
    }
    if (is_better(directory, &found)) *directory = found;
}

void cgroup_parse_mount(struct text line, const struct cgroup_names *names,
                        struct cgroup_place *place) {
    struct mount mount;
    if (!split_mount(line, &mount)) return;
    if (names->memory[0] && text_is(mount.type, "cgroup") && text_list_has(mount.options, "memory"))
        consider_mount(&mount, names->memory, &place->memory);
    if (names->unified[0] && text_is(mount.type, "cgroup2"))
        consider_mount(&mount, names->unified, &place->unified);
}

void cgroup_parse_level_v2(struct text high, struct text max, struct text current, struct text stat,
                           struct cgroup_level *level) {
    level->limit_bytes = reading_smaller(text_parse_limit(high), text_parse_limit(max));
    level->usage_bytes = text_parse_limit(current);
    level->inactive_bytes = text_find_number(stat, "inactive_file", false);
}

void cgroup_parse_level_v1(struct text usage, struct text stat, struct cgroup_level *level) {
    level->limit_bytes = text_find_number(stat, "hierarchical_memory_limit", false);
    if (level->limit_bytes.value >= LEAST_NO_LIMIT) level->limit_bytes.value = NO_LIMIT;
    level->usage_bytes = text_parse_limit(usage);
    level->inactive_bytes = text_find_number(stat, "total_inactive_file", false);
}

/* Without inactive_file the whole usage counts as the working set: rather release too early. */
void cgroup_consider_level(struct cgroup *cgroup, const struct cgroup_level *level,
                           unsigned depth) {
    if (!level->limit_bytes.is_known || level->limit_bytes.value == NO_LIMIT ||
        !level->usage_bytes.is_known)
        return;
    int64_t working = level->usage_bytes.value - level->inactive_bytes.value;
    if (working < 0) working = 0;
    int64_t headroom = level->limit_bytes.value - working;
    if (headroom < 0) headroom = 0;
    if (cgroup->headroom_bytes.is_known && cgroup->headroom_bytes.value <= headroom) return;
    cgroup->depth = depth;
    cgroup->limit_bytes = level->limit_bytes;
    cgroup->working_bytes = known(working);
    cgroup->headroom_bytes = known(headroom);
}

bool cgroup_go_up(const struct cgroup_directory *directory, size_t *bytes) {
    if (*bytes <= directory->mount_bytes) return false;
    while (*bytes > directory->mount_bytes && directory->path[*bytes - 1] != '/') --*bytes;
    if (*bytes > directory->mount_bytes) --*bytes; /* the slash */
    return true;
}
