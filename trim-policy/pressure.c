/* For what: pressure.h. */
#include "pressure.h"

#include "file.h"

/* "0.12" is 12; more than two decimals are cut. */
static struct reading parse_hundredths(struct text text) {
    int64_t whole, part = 0;
    if (!text_take_number(&text, &whole) || whole > 100) return (struct reading){0};
    if (text.bytes < 2 || *text.at != '.') return (struct reading){0};
    struct text decimals = {text.at + 1, text.bytes - 1 < 2 ? text.bytes - 1 : 2};
    size_t digits = decimals.bytes;
    if (!text_take_number(&decimals, &part) || decimals.bytes) return (struct reading){0};
    return known(whole * 100 + (digits == 1 ? part * 10 : part));
}

static struct reading parse_total(struct text text) {
    int64_t number;
    return text_take_number(&text, &number) && !text.bytes ? known(number) : (struct reading){0};
}

static void parse_item(struct text name, struct text value, struct stall *stall) {
    if (text_is(name, "avg10")) stall->avg10 = parse_hundredths(value);
    if (text_is(name, "avg60")) stall->avg60 = parse_hundredths(value);
    if (text_is(name, "avg300")) stall->avg300 = parse_hundredths(value);
    if (text_is(name, "total")) stall->total_us = parse_total(value);
}

static void parse_line(struct text line, struct pressure *pressure) {
    struct text kind, item, name;
    if (!text_take_word(&line, &kind)) return;
    struct stall *stall = text_is(kind, "some")   ? &pressure->some
                          : text_is(kind, "full") ? &pressure->full
                                                  : NULL;
    while (stall && text_take_word(&line, &item))
        if (text_take_until(&item, '=', &name)) parse_item(name, item, stall);
}

void pressure_parse(struct text text, struct pressure *pressure) {
    *pressure = (struct pressure){0};
    for (struct text line; text_take_line(&text, &line);) parse_line(line, pressure);
}

enum { PRESSURE_BYTES = 256 };

void pressure_read(const char *root, struct pressure *pressure) {
    char buffer[PRESSURE_BYTES];
    pressure_parse(file_read(root, "/proc/pressure/memory", buffer, sizeof buffer), pressure);
}

void pressure_read_group(struct text directory, struct pressure *pressure) {
    char buffer[PRESSURE_BYTES];
    pressure_parse(file_read_in(directory, "memory.pressure", buffer, sizeof buffer), pressure);
}
