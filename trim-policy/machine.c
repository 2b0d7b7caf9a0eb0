/* For what: machine.h. */
#include "machine.h"

#include "../core/budget.h"
#include "../core/line.h"
#include "../core/os.h"
#include "file.h"

static struct minimum_settings settings;
static const char *fake_root = "";
static bool is_verbose;

void machine_init(struct machine *machine, const char *root, struct minimum_settings minimum,
                  bool verbose) {
    *machine = (struct machine){.has_looked = false};
    fake_root = root;
    settings = minimum;
    is_verbose = verbose;
}

/* ---- what is said in verbose mode ---- */

static void add_mebibytes(struct line *line, struct reading bytes) {
    if (!bytes.is_known) {
        line_add(line, "?");
        return;
    }
    line_add_number(line, (uint64_t)bytes.value >> 20, 10);
    line_add(line, "M");
}

static void say_level(const struct machine *machine) {
    struct line line = {.used = 0};
    line_add(&line, "lowtide: memory pressure is ");
    line_add(&line, watermark_level_name(machine->state.level));
    line_add(&line, ": ");
    add_mebibytes(&line, machine->sample.available_bytes);
    line_add(&line, " available of ");
    add_mebibytes(&line, machine->sample.limit_bytes);
    line_add(&line, " (minimum free ");
    add_mebibytes(&line, known(machine->marks.min_free_bytes));
    line_add(&line, ", low watermark ");
    add_mebibytes(&line, known(machine->marks.low_bytes));
    line_add(&line, ")");
    line_write(&line);
}

static void say_unknown(const struct sample *sample) {
    const struct {
        bool is_known;
        const char *what;
    } source[] = {
        {sample->machine.total.is_known && sample->machine.available.is_known,
         " the machine's memory (/proc/meminfo)"},
        {sample->cgroup.version != 0, " a control group"},
        {sample->some_us.is_known, " stalls (/proc/pressure/memory)"},
        {sample->swap_used_bytes.is_known, " swap"},
    };
    struct line line = {.used = 0};
    line_add(&line, "lowtide: memory: not known here:");
    size_t begun = line.used;
    for (unsigned i = 0; i < sizeof source / sizeof *source; i++) {
        if (source[i].is_known) continue;
        if (line.used > begun) line_add(&line, ",");
        line_add(&line, source[i].what);
    }
    if (line.used > begun) line_write(&line);
}

/* ---- looking ---- */

/* A quarter of the mappings that a process may have: more than core's default where the machine
 * allows more. None stays none. */
static void read_most_mappings(void) {
    char text[32];
    struct text rest = file_read(fake_root, "/proc/sys/vm/max_map_count", text, sizeof text);
    int64_t most;
    if (relaxed_load(&limits.max_holes) && text_take_number(&rest, &most) && most > 0)
        relaxed_store(&limits.max_holes, (uint32_t)(most < INT32_MAX ? most / 4 : INT32_MAX / 4));
}

static bool is_too_soon(const struct machine *machine, int64_t now_ms) {
    int64_t passed = now_ms - machine->looked_ms;
    return machine->has_looked && passed >= 0 && passed < MACHINE_LOOK_MS;
}

int machine_look(struct machine *machine, int64_t now_ms) {
    struct sample *sample = &machine->sample;
    int before = machine->state.level;
    if (relaxed_load(&os_is_filtered)) return LEVEL_LOW;
    if (is_too_soon(machine, now_ms)) return before;
    machine->looked_ms = now_ms;
    sample_read(fake_root, sample);
    if (!machine->has_looked) {
        machine->start_bytes = sample->available_bytes;
        read_most_mappings();
    }
    /* A limit may be changed while the process runs. */
    machine->marks = watermark_compute(&settings, sample->limit_bytes, machine->start_bytes);
    int level = watermark_level(sample, &machine->marks, &machine->state, now_ms);
    if (is_verbose && !machine->has_looked) say_unknown(sample);
    if (is_verbose && (!machine->has_looked || level != before)) say_level(machine);
    machine->has_looked = true;
    return level;
}
