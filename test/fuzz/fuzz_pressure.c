/* Pressure stall information. */
#include "fuzz.h"

static void check(const struct stall *stall) {
    must_be_sound(stall->total_us);
    const struct reading averages[] = {stall->avg10, stall->avg60, stall->avg300};
    for (int i = 0; i < 3; i++) {
        must_be_sound(averages[i]);
        must(averages[i].value < 10100);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct pressure pressure;
    pressure_parse(fuzz_text(data, bytes), &pressure);
    check(&pressure.some);
    check(&pressure.full);
    return 0;
}
