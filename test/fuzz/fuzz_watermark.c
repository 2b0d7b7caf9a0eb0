/* The policy's arithmetic on any readings, settings and clock. */
#include "fuzz.h"

static void check_marks(const struct watermarks *marks, struct reading total) {
    must(marks->min_free_bytes >= 0 && marks->min_free_bytes <= marks->low_bytes && marks->low_bytes <= total.value);
}

/* Less available never means a lower level. */
static void check_order(const struct watermarks *marks, struct reading a, struct reading b) {
    if (!a.is_known || !b.is_known || a.value > b.value) return;
    must(watermark_base_level(a, marks) >= watermark_base_level(b, marks));
}

static void check_ladder(int64_t idle_ms, int level) {
    int64_t wait = watermark_idle_wait_ms(idle_ms, level);
    must(wait > 0 && watermark_housekeeping_ms(level) >= 100);
    if (wait != INT64_MAX) must(watermark_idle_action(idle_ms + wait, level) > watermark_idle_action(idle_ms, level));
}

static void check_steps(struct text *input, const struct watermarks *marks) {
    struct watermark_state state = {0};
    while (input->bytes) {
        struct sample sample = {.available_bytes = fuzz_reading(input), .swap_used_bytes = fuzz_reading(input)};
        sample.some_us = fuzz_reading(input);
        sample.full_us = fuzz_reading(input);
        int before = state.level, base = watermark_base_level(sample.available_bytes, marks);
        int level = watermark_level(&sample, marks, &state, fuzz_number(input));
        must(level == state.level && level >= base && level >= before - 1 && level < LEVELS);
        check_ladder(sample.some_us.value, level);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct text input = fuzz_text(data, bytes);
    if (!bytes) return 0;
    struct reading total = fuzz_reading(&input), available = fuzz_reading(&input);
    struct minimum_settings settings = {fuzz_number(&input), fuzz_number(&input) % 101, fuzz_number(&input) % 101};
    struct watermarks marks = watermark_compute(&settings, total, available);
    check_marks(&marks, total);
    check_order(&marks, available, fuzz_reading(&input));
    check_steps(&input, &marks);
    return 0;
}
