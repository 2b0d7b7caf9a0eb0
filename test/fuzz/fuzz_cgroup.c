/* /proc/self/cgroup and /proc/self/mountinfo: every line of the input is taken for one of the first, then for one of the second. */
#include "fuzz.h"

/* A path that ends inside its buffer, and whose ancestors end at the mount point. */
static void check_directory(const struct cgroup_directory *directory) {
    size_t bytes = strnlen(directory->path, sizeof directory->path), before = bytes;
    must(bytes < sizeof directory->path);
    if (!bytes) return;
    must(directory->path[0] == '/' && directory->mount_bytes <= bytes);
    while (cgroup_go_up(directory, &bytes)) {
        must(bytes < before && bytes >= directory->mount_bytes);
        before = bytes;
    }
    must(bytes == directory->mount_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct cgroup_names names;
    static struct cgroup_place place;
    struct text text = fuzz_text(data, bytes), rest = text, line;
    names.memory[0] = names.unified[0] = place.memory.path[0] = place.unified.path[0] = 0;
    while (text_take_line(&rest, &line)) cgroup_parse_name(line, &names);
    must(strnlen(names.memory, sizeof names.memory) < sizeof names.memory);
    must(strnlen(names.unified, sizeof names.unified) < sizeof names.unified);
    for (rest = text; text_take_line(&rest, &line);) cgroup_parse_mount(line, &names, &place);
    check_directory(&place.memory);
    check_directory(&place.unified);
    return 0;
}
