/* Reads the files that cgroup.h is about. Only levels with a limit cost more than one or two small
 * reads: memory.stat makes the kernel add up the counters of all processors. */
#include "cgroup.h"

#include "file.h"

#include <string.h>

enum { NUMBER_BYTES = 32 };

static struct text directory_at(struct file_path *path, const char *root, struct text directory) {
    file_path_begin(path, root);
    file_path_add(path, directory);
    return (struct text){path->string, path->is_whole ? path->bytes : 0};
}

/* Both versions' memory.stat stay below 3 KiB; what matters of a longer one may be cut off and is
 * then unknown. */
static struct text read_stat(struct text at) {
    return file_read_in(at, "memory.stat", file_scratch, FILE_SCRATCH_BYTES);
}

static bool has_limit(struct reading limit) { return limit.is_known && limit.value != NO_LIMIT; }

static void read_level_v2(struct text at, struct cgroup_level *level) {
    char high[NUMBER_BYTES], max[NUMBER_BYTES], current[NUMBER_BYTES];
    struct text nothing = {high, 0};
    struct text high_text = file_read_in(at, "memory.high", high, sizeof high);
    struct text max_text = file_read_in(at, "memory.max", max, sizeof max);
    cgroup_parse_level_v2(high_text, max_text, nothing, nothing, level);
    if (!has_limit(level->limit_bytes)) return;
    struct text current_text = file_read_in(at, "memory.current", current, sizeof current);
    cgroup_parse_level_v2(high_text, max_text, current_text, read_stat(at), level);
}

static void read_level_v1(struct text at, struct cgroup_level *level) {
    char usage[NUMBER_BYTES];
    struct text usage_text = file_read_in(at, "memory.usage_in_bytes", usage, sizeof usage);
    cgroup_parse_level_v1(usage_text, read_stat(at), level);
}

/* Old kernels let a v1 group leave its children out of its own account. */
static bool is_hierarchical(struct text at) {
    char number[NUMBER_BYTES];
    struct reading use =
        text_parse_limit(file_read_in(at, "memory.use_hierarchy", number, sizeof number));
    return !use.is_known || use.value;
}

static struct reading read_swap_v2(struct text at) {
    char number[NUMBER_BYTES];
    return text_parse_limit(file_read_in(at, "memory.swap.current", number, sizeof number));
}

/* memsw counts memory and swap together. */
static struct reading read_swap_v1(struct text at) {
    char number[NUMBER_BYTES];
    struct reading both =
        text_parse_limit(file_read_in(at, "memory.memsw.usage_in_bytes", number, sizeof number));
    struct reading memory =
        text_parse_limit(file_read_in(at, "memory.usage_in_bytes", number, sizeof number));
    if (!both.is_known || !memory.is_known) return (struct reading){0};
    return known(both.value > memory.value ? both.value - memory.value : 0);
}

void cgroup_read(const char *root, const struct cgroup_place *place, struct cgroup *cgroup) {
    static struct file_path path;
    bool is_v1 = place->memory.path[0];
    const struct cgroup_directory *directory = is_v1 ? &place->memory : &place->unified;
    *cgroup = (struct cgroup){0};
    if (!directory->path[0]) return;
    cgroup->version = is_v1 ? 1 : 2;
    size_t bytes = strlen(directory->path);
    struct text at = directory_at(&path, root, (struct text){directory->path, bytes});
    cgroup->swap_bytes = is_v1 ? read_swap_v1(at) : read_swap_v2(at);
    for (unsigned depth = 0;; depth++) {
        struct cgroup_level level = {0};
        at = directory_at(&path, root, (struct text){directory->path, bytes});
        if (is_v1 && depth && !is_hierarchical(at)) break;
        if (is_v1)
            read_level_v1(at, &level);
        else
            read_level_v2(at, &level);
        cgroup_consider_level(cgroup, &level, depth);
        if (is_v1 && level.limit_bytes.value == NO_LIMIT) break; /* nor has any ancestor one */
        if (!cgroup_go_up(directory, &bytes)) break;
    }
}

static void read_names(const char *root, struct cgroup_names *names) {
    static struct file_lines lines;
    *names = (struct cgroup_names){0};
    if (!file_open_lines(&lines, root, "/proc/self/cgroup")) return;
    for (struct text line; file_next_line(&lines, &line);) cgroup_parse_name(line, names);
    file_close_lines(&lines);
}

static void read_mounts(const char *root, const struct cgroup_names *names,
                        struct cgroup_place *place) {
    static struct file_lines lines;
    if (!file_open_lines(&lines, root, "/proc/self/mountinfo")) return;
    for (struct text line; file_next_line(&lines, &line);) cgroup_parse_mount(line, names, place);
    file_close_lines(&lines);
}

void cgroup_locate(const char *root, struct cgroup_place *place) {
    static struct cgroup_names names;
    *place = (struct cgroup_place){0};
    read_names(root, &names);
    if (names.memory[0] || names.unified[0]) read_mounts(root, &names, place);
}

uint64_t cgroup_fingerprint(const char *root) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    struct text text = file_read(root, "/proc/self/cgroup", file_scratch, FILE_SCRATCH_BYTES);
    for (size_t i = 0; i < text.bytes; i++)
        hash = (hash ^ (unsigned char)text.at[i]) * 1099511628211u;
    return hash;
}
