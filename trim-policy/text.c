/* For what: text.h. */
#include "text.h"

#include <string.h>

struct reading reading_smaller(struct reading a, struct reading b) {
    if (!a.is_known) return b;
    if (!b.is_known) return a;
    return a.value < b.value ? a : b;
}

struct text text_of(const char *string) {
    return (struct text){string, strlen(string)};
}

bool text_is(struct text text, const char *string) {
    return text.bytes == strlen(string) && memcmp(text.at, string, text.bytes) == 0;
}

bool text_starts_with(struct text text, const char *string) {
    size_t n = strlen(string);
    return text.bytes >= n && memcmp(text.at, string, n) == 0;
}

static void skip(struct text *text, size_t bytes) {
    text->at += bytes;
    text->bytes -= bytes;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void skip_blanks(struct text *text) {
    while (text->bytes && is_blank(*text->at)) skip(text, 1);
}

bool text_take_until(struct text *rest, char separator, struct text *part) {
    if (!rest->bytes) return false;
    const char *end = memchr(rest->at, separator, rest->bytes);
    *part = (struct text){rest->at, end ? (size_t)(end - rest->at) : rest->bytes};
    skip(rest, part->bytes + (end ? 1 : 0));
    return true;
}

bool text_take_line(struct text *rest, struct text *line) {
    return text_take_until(rest, '\n', line);
}

bool text_take_word(struct text *rest, struct text *word) {
    skip_blanks(rest);
    *word = (struct text){rest->at, 0};
    while (rest->bytes && !is_blank(*rest->at)) skip(rest, 1), word->bytes++;
    return word->bytes > 0;
}

bool text_list_has(struct text list, const char *word) {
    for (struct text item; text_take_until(&list, ',', &item);)
        if (text_is(item, word)) return true;
    return false;
}

static int64_t times(int64_t number, int64_t factor) {
    return number > INT64_MAX / factor ? INT64_MAX : number * factor;
}

bool text_take_number(struct text *rest, int64_t *number) {
    if (!rest->bytes || !is_digit(*rest->at)) return false;
    for (*number = 0; rest->bytes && is_digit(*rest->at); skip(rest, 1)) {
        int64_t tens = times(*number, 10), digit = *rest->at - '0';
        *number = tens > INT64_MAX - digit ? INT64_MAX : tens + digit;
    }
    return true;
}

struct reading text_parse_limit(struct text text) {
    struct text word, rest = text;
    int64_t number;
    if (!text_take_word(&rest, &word) || text_take_word(&rest, &(struct text){0}))
        return (struct reading){0};
    if (text_is(word, "max")) return known(NO_LIMIT);
    if (!text_take_number(&word, &number) || word.bytes) return (struct reading){0};
    return known(number >= LEAST_NO_LIMIT ? NO_LIMIT : number);
}

/* A line that begins with the key as a whole word; what is behind it is left in `line`. */
static bool find_line(struct text text, const char *key, struct text *line) {
    size_t n = strlen(key);
    while (text_take_line(&text, line)) {
        if (line->bytes <= n || !is_blank(line->at[n]) || !text_starts_with(*line, key)) continue;
        skip(line, n);
        return true;
    }
    return false;
}

struct reading text_find_number(struct text text, const char *key, bool needs_unit) {
    struct text line, unit;
    int64_t number;
    if (!find_line(text, key, &line)) return (struct reading){0};
    skip_blanks(&line);
    if (!text_take_number(&line, &number) || (line.bytes && !is_blank(*line.at)))
        return (struct reading){0};
    bool has_unit = text_take_word(&line, &unit);
    if (has_unit ? !text_is(unit, "kB") : needs_unit) return (struct reading){0};
    return known(has_unit ? times(number, 1024) : number);
}

/* The power of 1024 of a suffix, or -1. */
static int suffix_power(char c) {
    static const char suffixes[] = "KMGTkmgt";
    const char *found = c ? strchr(suffixes, c) : NULL;
    return found ? (int)(found - suffixes) % 4 + 1 : -1;
}

bool text_parse_size(struct text text, struct text_size *size) {
    *size = (struct text_size){0};
    if (!text_take_number(&text, &size->number)) return false;
    size->is_percent = text_is(text, "%");
    if (!text.bytes || size->is_percent) return true;
    int power = suffix_power(*text.at);
    if (power > 0) skip(&text, 1);
    for (int i = 0; i < power; i++) size->number = times(size->number, 1024);
    return !text.bytes || text_is(text, "B") || (power > 0 && text_is(text, "iB"));
}

/* The value of the three octal digits at `at`, or -1. */
static int octal(const char *at) {
    int value = 0;
    for (int i = 0; i < 3; i++) {
        if (at[i] < '0' || at[i] > '7') return -1;
        value = value * 8 + at[i] - '0';
    }
    return value <= 255 ? value : -1;
}

bool text_decode_octal(struct text text, char *to, size_t room) {
    while (text.bytes && room > 1) {
        int code = *text.at == '\\' && text.bytes >= 4 ? octal(text.at + 1) : -1;
        *to = code >= 0 ? (char)code : *text.at;
        if (!*to) return false;
        to++, room--;
        skip(&text, code >= 0 ? 4 : 1);
    }
    if (room) *to = 0;
    return !text.bytes && room;
}
