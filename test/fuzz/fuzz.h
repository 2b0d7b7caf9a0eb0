/* What the fuzz targets share. A target throws bytes at a parser and checks what must hold of any result; the sanitizers
 * find what is read or computed wrongly. libFuzzer's bytes have no NUL behind them, so reading past the end is found too. */
#ifndef LOWTIDE_FUZZ_H
#define LOWTIDE_FUZZ_H

#include "../../trim-policy/sample.h"
#include "../../trim-policy/watermark.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

#define must(condition) ((condition) ? (void)0 : __builtin_trap())

static inline struct text fuzz_text(const uint8_t *data, size_t bytes) { return (struct text){(const char *)data, bytes}; }

static inline void must_be_sound(struct reading reading) { must(reading.is_known ? reading.value >= 0 : reading.value == 0); }

/* The next 8 bytes of the input as a number, 0 past its end. */
static inline int64_t fuzz_number(struct text *input) {
    int64_t number = 0;
    size_t n = input->bytes < sizeof number ? input->bytes : sizeof number;
    memcpy(&number, input->at, n);
    input->at += n;
    input->bytes -= n;
    return number;
}

/* The same as a reading; numbers of all magnitudes are as frequent. */
static inline struct reading fuzz_reading(struct text *input) {
    int64_t number = fuzz_number(input);
    return number < 0 ? (struct reading){0} : known(number >> (number & 63));
}

#endif
