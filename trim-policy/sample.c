/* For what: sample.h. */
#include "sample.h"

#include "file.h"

#include <errno.h>
#include <sys/auxv.h>

struct reading sample_parse_statm(struct text text, int64_t page_bytes) {
    struct text word;
    int64_t pages;
    if (page_bytes <= 0 || !text_take_word(&text, &word)) return (struct reading){0};
    if (!text_take_number(&word, &pages) || word.bytes) return (struct reading){0};
    return known(pages > INT64_MAX / page_bytes ? INT64_MAX : pages * page_bytes);
}

struct reading sample_headroom(struct reading limit_bytes, struct reading used_bytes) {
    if (!limit_bytes.is_known || limit_bytes.value == NO_LIMIT || !used_bytes.is_known)
        return (struct reading){0};
    return known(limit_bytes.value > used_bytes.value ? limit_bytes.value - used_bytes.value : 0);
}

static struct reading first_known(struct reading a, struct reading b) { return a.is_known ? a : b; }

static struct reading machine_swap_used(const struct meminfo *machine) {
    return sample_headroom(machine->swap_total, machine->swap_free);
}

void sample_combine(struct sample *sample) {
    const struct process_limits *process = &sample->process;
    struct reading limit = reading_smaller(sample->machine.total, sample->cgroup.limit_bytes);
    limit = reading_smaller(limit, process->address_limit_bytes);
    sample->limit_bytes = reading_smaller(limit, process->data_limit_bytes);

    struct reading left = reading_smaller(sample->machine.available, sample->cgroup.headroom_bytes);
    left = reading_smaller(left,
                           sample_headroom(process->address_limit_bytes, process->address_bytes));
    sample->available_bytes =
        reading_smaller(left, sample_headroom(process->data_limit_bytes, process->data_bytes));

    sample->swap_used_bytes =
        first_known(sample->cgroup.swap_bytes, machine_swap_used(&sample->machine));
    sample->some_us =
        first_known(sample->group_pressure.some.total_us, sample->pressure.some.total_us);
    sample->full_us =
        first_known(sample->group_pressure.full.total_us, sample->pressure.full.total_us);
}

static struct reading limit_of(const struct rlimit *limit) {
    return limit->rlim_cur >= (rlim_t)LEAST_NO_LIMIT ? (struct reading){0}
                                                     : known((int64_t)limit->rlim_cur);
}

/* Reads what is used only where there is a limit; few processes have one. */
static void read_process(const char *root, struct process_limits *process) {
    struct rlimit limit;
    *process = (struct process_limits){0};
    if (!getrlimit(RLIMIT_AS, &limit)) process->address_limit_bytes = limit_of(&limit);
    if (!getrlimit(RLIMIT_DATA, &limit)) process->data_limit_bytes = limit_of(&limit);
    if (process->address_limit_bytes.is_known)
        process->address_bytes = sample_parse_statm(
            file_read(root, "/proc/self/statm", file_scratch, 256), (int64_t)getauxval(AT_PAGESZ));
    if (process->data_limit_bytes.is_known)
        process->data_bytes =
            text_find_number(file_read(root, "/proc/self/status", file_scratch, FILE_SCRATCH_BYTES),
                             "VmData:", true);
}

/* What was not found may have been out of reach for a moment only, and is looked for again now and
 * then: the list of mounts may be long. */
enum { LOOKS_A_SEARCH = 16 };

static void find_place(const char *root, struct sample *sample) {
    uint64_t fingerprint = cgroup_fingerprint(root);
    bool is_found = sample->place.memory.path[0] || sample->place.unified.path[0];
    bool is_due = !is_found && ++sample->looks % LOOKS_A_SEARCH == 0;
    if (sample->has_place && fingerprint == sample->place_fingerprint && !is_due) return;
    cgroup_locate(root, &sample->place);
    sample->place_fingerprint = fingerprint;
    sample->has_place = true;
}

static void read_group_pressure(const char *root, struct sample *sample) {
    static struct file_path path;
    sample->group_pressure = (struct pressure){0};
    if (!sample->place.unified.path[0]) return;
    file_path_begin(&path, root);
    file_path_add(&path, text_of(sample->place.unified.path));
    if (path.is_whole)
        pressure_read_group((struct text){path.string, path.bytes}, &sample->group_pressure);
}

void sample_read(const char *root, struct sample *sample) {
    int saved = errno;
    meminfo_read(root, &sample->machine);
    find_place(root, sample);
    cgroup_read(root, &sample->place, &sample->cgroup);
    pressure_read(root, &sample->pressure);
    read_group_pressure(root, sample);
    read_process(root, &sample->process);
    sample_combine(sample);
    errno = saved;
}
