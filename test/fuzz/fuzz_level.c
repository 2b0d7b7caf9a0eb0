/* The files of one cgroup directory, separated by a line "-", and the choice of the tightest. */
#include "fuzz.h"

enum { FILES = 4 };

static void split(struct text rest, struct text *files) {
    for (int i = 0; i < FILES; i++) {
        const char *end = rest.bytes ? memmem(rest.at, rest.bytes, "\n-\n", 3) : NULL;
        files[i] = (struct text){rest.at, end ? (size_t)(end - rest.at) : rest.bytes};
        rest.at += files[i].bytes + (end ? 3 : 0);
        rest.bytes -= files[i].bytes + (end ? 3 : 0);
    }
}

static void check(const struct cgroup_level *level, struct cgroup *cgroup, unsigned depth) {
    struct reading before = cgroup->headroom_bytes;
    must_be_sound(level->limit_bytes);
    must_be_sound(level->usage_bytes);
    must_be_sound(level->inactive_bytes);
    cgroup_consider_level(cgroup, level, depth);
    must_be_sound(cgroup->headroom_bytes);
    must(!before.is_known || cgroup->headroom_bytes.value <= before.value);
    must(!cgroup->headroom_bytes.is_known || cgroup->headroom_bytes.value <= cgroup->limit_bytes.value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct text files[FILES];
    struct cgroup_level level;
    struct cgroup cgroup = {0};
    split(fuzz_text(data, bytes), files);
    cgroup_parse_level_v2(files[0], files[1], files[2], files[3], &level);
    check(&level, &cgroup, 0);
    cgroup_parse_level_v1(files[2], files[3], &level);
    check(&level, &cgroup, 1);
    return 0;
}
