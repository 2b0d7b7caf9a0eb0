/* Strings, as a job over text has them: text SCALE
 *
 * Each round makes a text of some 300 KB, splits it into lines and these into words, counts the
 * words in a table, joins them to lines again in a buffer that grows, and replaces every line by
 * one with a number before it. */
#include "suite.h"

enum { LINES = 6000, WORDS_A_LINE = 8, BUCKETS = 4096 };

struct buffer {
    char *text;
    size_t length, room;
};

struct word {
    struct word *next;
    size_t count;
    char *text;
};

static struct word *words[BUCKETS];

static char *copy(const char *text, size_t length) {
    char *string = take(length + 1);
    memcpy(string, text, length);
    string[length] = 0;
    return string;
}

static void drop_string(char *string) { drop(string, strlen(string) + 1); }

static void append(struct buffer *buffer, const char *text, size_t length) {
    size_t room = buffer->room ? buffer->room : 64;
    while (room < buffer->length + length + 1) room += room / 2;
    if (room > buffer->room) {
        live_change((long)(room - buffer->room));
        buffer->text = realloc(buffer->text, room);
        if (!buffer->text) exit(1);
        buffer->room = room;
    }
    memcpy(buffer->text + buffer->length, text, length);
    buffer->length += length;
    buffer->text[buffer->length] = 0;
}

/* Words of 1..16 letters; 20,000 different ones, the first ones more often. */
static void append_word(struct buffer *buffer, uint64_t *state) {
    uint64_t number = random_between(state, 0, 20000) * random_between(state, 0, 20000) / 20000 + 1;
    char text[16];
    size_t length = 0, most = 1 + number % sizeof text;
    for (uint64_t letters = number * 0x9e3779b97f4a7c15; length < most; letters /= 2)
        text[length++] = (char)('a' + letters % 26);
    append(buffer, text, length);
}

static struct buffer make_text(uint64_t *state) {
    struct buffer buffer = {0};
    for (int line = 0; line < LINES; line++)
        for (int word = 0; word < WORDS_A_LINE; word++) {
            append_word(&buffer, state);
            append(&buffer, word + 1 < WORDS_A_LINE ? " " : "\n", 1);
        }
    return buffer;
}

/* The parts of `text` between separators, each a string of its own; their number. */
static size_t split(const char *text, char separator, char **parts, size_t most) {
    size_t count = 0;
    while (*text && count < most) {
        const char *end = strchr(text, separator);
        size_t length = end ? (size_t)(end - text) : strlen(text);
        parts[count++] = copy(text, length);
        text += end ? length + 1 : length;
    }
    return count;
}

static void count_word(const char *text) {
    size_t hash = 5381;
    for (const char *letter = text; *letter; letter++) hash = hash * 33 + (unsigned char)*letter;
    struct word **place = &words[hash % BUCKETS];
    while (*place && strcmp((*place)->text, text) != 0) place = &(*place)->next;
    if (!*place) {
        *place = take(sizeof **place);
        **place = (struct word){NULL, 0, copy(text, strlen(text))};
    }
    (*place)->count++;
}

static uint64_t drop_words(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct word *word = words[i], *next; word; word = next) {
            next = word->next;
            sum += word->count * word->count;
            drop_string(word->text);
            drop(word, sizeof *word);
        }
    memset(words, 0, sizeof words);
    return sum;
}

static char *join_words(const char *line) {
    char *parts[WORDS_A_LINE];
    struct buffer joined = {0};
    size_t count = split(line, ' ', parts, WORDS_A_LINE);
    for (size_t i = 0; i < count; i++) {
        count_word(parts[i]);
        append(&joined, parts[i], strlen(parts[i]));
        drop_string(parts[i]);
    }
    char *result = copy(joined.text, joined.length);
    drop(joined.text, joined.room);
    return result;
}

static char *number_line(const char *line, size_t number) {
    char digits[32];
    struct buffer numbered = {0};
    append(&numbered, digits, (size_t)snprintf(digits, sizeof digits, "%zu: ", number));
    append(&numbered, line, strlen(line));
    char *result = copy(numbered.text, numbered.length);
    drop(numbered.text, numbered.room);
    return result;
}

static uint64_t run_round(char **lines, uint64_t *state) {
    uint64_t check = 0;
    struct buffer text = make_text(state);
    size_t count = split(text.text, '\n', lines, LINES);
    drop(text.text, text.room);
    for (size_t i = 0; i < count; i++) {
        char *joined = join_words(lines[i]);
        drop_string(lines[i]);
        lines[i] = number_line(joined, i);
        drop_string(joined);
    }
    for (size_t i = 0; i < count; i++) {
        check += strlen(lines[i]);
        drop_string(lines[i]);
    }
    return check + drop_words();
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    char **lines = table(LINES * sizeof(char *));
    uint64_t state = 1, check = 0;
    for (long round = scaled(130); round > 0; round--) check += run_round(lines, &state);
    print_check(check);
    return 0;
}
