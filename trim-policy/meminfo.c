/* For what: meminfo.h. */
#include "meminfo.h"

#include "file.h"

void meminfo_parse(struct text text, struct meminfo *meminfo) {
    *meminfo = (struct meminfo){
        .total = text_find_number(text, "MemTotal:", true),
        .free = text_find_number(text, "MemFree:", true),
        .available = text_find_number(text, "MemAvailable:", true),
        .active_file = text_find_number(text, "Active(file):", true),
        .inactive_file = text_find_number(text, "Inactive(file):", true),
        .reclaimable = text_find_number(text, "SReclaimable:", true),
        .swap_total = text_find_number(text, "SwapTotal:", true),
        .swap_free = text_find_number(text, "SwapFree:", true),
    };
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t sum(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }

void meminfo_estimate_available(struct meminfo *meminfo, struct reading min_free_kib) {
    if (meminfo->available.is_known || !meminfo->free.is_known) return;
    int64_t mark = smaller(min_free_kib.value, INT64_MAX / 2048) * 1024 / 4 * 5;
    int64_t most = min_free_kib.is_known ? mark : INT64_MAX;
    int64_t cache = sum(meminfo->active_file.value, meminfo->inactive_file.value),
            slabs = meminfo->reclaimable.value;
    int64_t caches = sum(cache - smaller(cache / 2, most), slabs - smaller(slabs / 2, most));
    int64_t available = sum(meminfo->free.value, caches) - mark;
    meminfo->available = known(available > 0 ? available : 0);
}

void meminfo_read(const char *root, struct meminfo *meminfo) {
    meminfo_parse(file_read(root, "/proc/meminfo", file_scratch, FILE_SCRATCH_BYTES), meminfo);
    if (meminfo->available.is_known || !meminfo->free.is_known) return;
    meminfo_estimate_available(
        meminfo,
        text_parse_limit(file_read(root, "/proc/sys/vm/min_free_kbytes", file_scratch, 64)));
}
