/* The helpers that all parsers are made of, and the parsers of one number. */
#include "fuzz.h"

static void check_sizes(struct text text) {
    struct text_size size;
    if (text_parse_size(text, &size)) must(size.number >= 0 && text.bytes && text.at[0] >= '0' && text.at[0] <= '9');
    must_be_sound(text_parse_limit(text));
    must_be_sound(text_find_number(text, "key", false));
    must_be_sound(text_find_number(text, "Key:", true));
    must_be_sound(sample_parse_statm(text, 65536));
}

/* Parts and separators make up the whole. */
static void check_parts(struct text text) {
    struct text rest = text, part;
    size_t bytes = 0, parts = 0;
    for (; text_take_line(&rest, &part); parts++) bytes += part.bytes;
    bool is_ended = text.bytes && text.at[text.bytes - 1] == '\n';
    must(!parts || bytes + parts - !is_ended == text.bytes);
    for (rest = text; text_take_word(&rest, &part);) must(part.bytes > 0);
    must(!rest.bytes);
    (void)text_list_has(text, "memory");
}

static void check_decoding(struct text text) {
    char decoded[64];
    if (!text_decode_octal(text, decoded, sizeof decoded)) return;
    must(strlen(decoded) < sizeof decoded && strlen(decoded) <= text.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct text text = fuzz_text(data, bytes);
    check_sizes(text);
    check_parts(text);
    check_decoding(text);
    return 0;
}
