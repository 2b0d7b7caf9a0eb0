/* /proc/meminfo, and the estimate of what is available. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct meminfo m;
    struct text rest = fuzz_text(data, bytes);
    meminfo_parse(rest, &m);
    const struct reading all[] = {m.total, m.free, m.available, m.active_file, m.inactive_file, m.reclaimable, m.swap_total, m.swap_free};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) must_be_sound(all[i]);
    bool was_known = m.available.is_known;
    meminfo_estimate_available(&m, fuzz_reading(&rest));
    must_be_sound(m.available);
    must(m.available.is_known == (was_known || m.free.is_known));
    return 0;
}
