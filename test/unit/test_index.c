/* The bitmap of bitmaps: searches against a plain array, and hints that say "maybe". */
#include "unit.h"

enum { IDS = 65536 };
#define ix index_table[INDEX_PARTIAL + 7]
static word thing[IDS]; /* what the ids stand for */

ParameterizedTestParameters(index, one_id_is_found_from_everywhere) {
    static uint32_t ids[] = {0, 1, 63, 64, 65, 4095, 4096, 4097, 40000, 61440, 65471, 65472, 65534, 65535};
    return cr_make_param_array(uint32_t, ids, COUNT(ids));
}
ParameterizedTest(uint32_t *id, index, one_id_is_found_from_everywhere) {
    index_set(&ix, *id);
    for (uint32_t from = 0; from < IDS; from++) {
        cr_assert_eq(index_next(&ix, from), from <= *id ? *id : INDEX_NONE, "next from %u", from);
        cr_assert_eq(index_previous(&ix, from), from >= *id ? *id : INDEX_NONE, "previous from %u", from);
    }
}

Test(index, an_empty_one_has_nothing) {
    for (uint32_t from = 0; from < IDS; from += 61) {
        cr_assert_eq(index_next(&ix, from), INDEX_NONE);
        cr_assert_eq(index_previous(&ix, from), INDEX_NONE);
    }
    cr_assert_eq(index_next(&ix, IDS), INDEX_NONE);
    cr_assert_eq(index_next(&ix, INDEX_NONE), INDEX_NONE);
}

static uint32_t model_next(uint32_t from) {
    while (from < IDS && !thing[from]) from++;
    return from < IDS ? from : INDEX_NONE;
}
static uint32_t model_previous(uint32_t from) {
    while (from && !thing[from]) from--;
    return thing[from] ? from : INDEX_NONE;
}

static void change(uint32_t id, bool on) {
    thing[id] = on;
    if (on)
        index_set(&ix, id);
    else
        index_settle(&ix, id, &thing[id]);
}

static void compare_searches(uint64_t *random) {
    uint32_t from = (uint32_t)(unit_random(random) % IDS);
    cr_assert_eq(index_next(&ix, from), model_next(from));
    cr_assert_eq(index_previous(&ix, from), model_previous(from));
}

static void compare_with_model(void) {
    uint64_t random = 7;
    for (unsigned i = 0; i < 4000; i++) {
        uint32_t id = (uint32_t)(unit_random(&random) % IDS);
        change(id, unit_random(&random) % 2);
        change((id & ~63u) + (uint32_t)(unit_random(&random) % 64), unit_random(&random) % 2);
        compare_searches(&random);
    }
    for (uint32_t id = 0; id < IDS; id++)
        if (thing[id]) change(id, false);
    cr_assert_eq(ix.top, 0, "a hint stayed when everything was settled");
}

Test(index, searches_agree_with_an_array) { compare_with_model(); }
Test(index, searches_agree_with_an_array_when_alone) {
    unit_be_alone();
    compare_with_model();
}

Test(index, settling_keeps_what_has_something) {
    thing[5000] = 1;
    index_set(&ix, 5000);
    index_settle(&ix, 5000, &thing[5000]);
    cr_assert_eq(index_next(&ix, 0), 5000);
    cr_assert_eq(index_previous(&ix, IDS - 1), 5000);
}

/* Middle and top words may have bits for words that became empty. */
Test(index, hints_for_nothing_are_passed_over) {
    static const uint32_t ids[] = {3, 700, 4200, 30000, 65000};
    for (unsigned i = 0; i < COUNT(ids); i++) index_set(&ix, ids[i]);
    for (unsigned i = 1; i + 1 < COUNT(ids); i++) *index_bottom(&ix, ids[i] / 64) = 0;
    ix.middle[ids[2] / 4096] = 0;
    cr_assert_eq(index_next(&ix, 4), 65000);
    cr_assert_eq(index_previous(&ix, 64999), 3);
    *index_bottom(&ix, 65000 / 64) = 0;
    *index_bottom(&ix, 0) = 0;
    cr_assert_eq(index_next(&ix, 0), INDEX_NONE);
    cr_assert_eq(index_previous(&ix, IDS - 1), INDEX_NONE);
}

Test(index, hint_is_cleared_only_above_an_empty_word) {
    word upper = 0, lower = 2;
    hint_set(&upper, 9);
    hint_clear(&upper, 9, &lower);
    cr_assert_eq(upper, 1 << 9);
    lower = 0;
    hint_clear(&upper, 9, &lower);
    cr_assert_eq(upper, 0);
}

/* Neighbouring ids share all three words. */
static void set_and_settle(unsigned index, void *context) {
    (void)context;
    for (unsigned round = 0; round < 3000; round++)
        for (uint32_t id = index; id < 16; id += 4) {
            atomic_store(&thing[id], 1);
            index_set(&ix, id);
            if (round == 2999 && id % 8 < 4) continue;
            atomic_store(&thing[id], 0);
            index_settle(&ix, id, &thing[id]);
        }
}

Test(index, no_id_is_lost_between_threads) {
    unit_run_threads(4, set_and_settle, NULL);
    for (uint32_t id = 0; id < 16; id++)
        if (thing[id]) cr_assert_eq(index_next(&ix, id), id);
    cr_assert_eq(thing[0], 1);
    cr_assert_eq(index_previous(&ix, 8), 8);
}
