/* SPDX-License-Identifier: Apache-2.0 */
#include "handover/notes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/failmalloc.h"

#define SIZE STATE_SIZE_MIN

static const struct notes_types types = {.set = 20, .removed = 21};

static _Alignas(64) uint8_t memory[SIZE];
static struct state state_of_test;

static int setup(void **state)
{
    memset(memory, 0, SIZE);
    state_create(&state_of_test, memory, SIZE, 1, "1.2.3");
    return 0;
}

static bool describe(void *userdata, const char *key, const char *text)
{
    char *seen = userdata;
    size_t len = strlen(seen);

    snprintf(seen + len, 256 - len, "%s=%s ", key, text);
    return true;
}

static const char *all_of(const struct notes *notes)
{
    static char seen[256];

    seen[0] = '\0';
    notes_visit(notes, describe, seen);
    return seen;
}

/* What the next process reads. */
static int read_back(struct notes *notes, struct error *e)
{
    static _Alignas(64) uint8_t copy[SIZE];
    struct state opened;

    memcpy(copy, memory, SIZE);
    assert_int_equal(state_open(&opened, copy, SIZE, e), 0);
    notes_init(notes);
    return notes_read(notes, &types, &opened, e);
}

static void set(struct notes *notes, const char *key, const char *text)
{
    assert_int_equal(notes_set(notes, key, text), 0);
    notes_append(notes, &types, key, &state_of_test);
    assert_true(state_commit(&state_of_test));
}

static void test_last_record_counts(void **state)
{
    struct notes notes, found;
    struct error e = ERROR_INIT;

    notes_init(&notes);
    set(&notes, "a", "1");
    set(&notes, "b", "2");
    set(&notes, "c", "");
    set(&notes, "a", "3");
    assert_true(notes_remove(&notes, "b"));
    assert_false(notes_remove(&notes, "b"));
    notes_append(&notes, &types, "b", &state_of_test);
    assert_true(state_commit(&state_of_test));
    assert_string_equal(all_of(&notes), "a=3 c= ");
    assert_string_equal(notes_find(&notes, "a"), "3");
    assert_null(notes_find(&notes, "b"));
    assert_int_equal(read_back(&found, &e), 0);
    assert_string_equal(all_of(&found), "a=3 c= ");
    notes_deinit(&notes);
    notes_deinit(&found);
}

/* As in a state that replaces another one. */
static void test_all_are_appended(void **state)
{
    struct notes notes, found;
    struct error e = ERROR_INIT;
    uint64_t used = state_used_bytes(&state_of_test);

    notes_init(&notes);
    assert_int_equal(notes_bytes_needed(&notes), 0);
    assert_int_equal(notes_set(&notes, "a", "1"), 0);
    assert_int_equal(notes_set(&notes, "b", "2"), 0);
    state_append(&state_of_test, 7, "another record", 14, NULL, 0);
    notes_append_all(&notes, &types, &state_of_test);
    assert_true(state_commit(&state_of_test));
    assert_true(state_used_bytes(&state_of_test) - used < notes_bytes_needed(&notes) + 64);
    assert_int_equal(read_back(&found, &e), 0);
    assert_string_equal(all_of(&found), "a=1 b=2 ");
    notes_deinit(&notes);
    notes_deinit(&found);
}

static void check_refused(uint16_t type, const char *bytes, size_t len, const char *unchecked)
{
    struct notes found;
    struct error e = ERROR_INIT;

    setup(NULL);
    state_append(&state_of_test, type, bytes, len, unchecked, strlen(unchecked));
    assert_true(state_commit(&state_of_test));
    assert_int_equal(read_back(&found, &e), -EBADMSG);
    assert_non_null(strstr(e.text, "invalid note"));
    notes_deinit(&found);
}

static void test_invalid_records_are_refused(void **state)
{
    char long_key[NOTE_KEY_MAX + 3];

    memset(long_key, 'k', sizeof(long_key));
    long_key[NOTE_KEY_MAX + 1] = '\0';
    check_refused(types.set, "", 0, "");
    check_refused(types.set, "\0text", 5, "");
    check_refused(types.set, "key", 3, "");
    check_refused(types.set, "key\0te\0xt", 9, "");
    check_refused(types.set, "key\0text", 8, "more");
    check_refused(types.set, long_key, sizeof(long_key), "");
    check_refused(types.removed, "", 0, "");
    check_refused(types.removed, "key\0text", 8, "");
}

static void test_text_is_too_long(void **state)
{
    _cleanup_(freep) char *text = malloc(NOTE_TEXT_MAX + 2);
    struct notes notes;

    assert_non_null(text);
    memset(text, 'x', NOTE_TEXT_MAX + 1);
    text[NOTE_TEXT_MAX + 1] = '\0';
    notes_init(&notes);
    assert_int_equal(notes_set(&notes, "a", "1"), 0);
    assert_int_equal(notes_set(&notes, "a", text), -E2BIG);
    assert_string_equal(all_of(&notes), "a=1 ");
    text[NOTE_TEXT_MAX] = '\0';
    assert_int_equal(notes_set(&notes, "a", text), 0);
    notes_deinit(&notes);
}

static int try_notes(void *userdata)
{
    struct notes found;
    int r;

    notes_init(&found);
    r = notes_read(&found, &types, &state_of_test, NULL);
    notes_deinit(&found);
    return r;
}

static void test_no_memory(void **state)
{
    struct notes notes;

    notes_init(&notes);
    set(&notes, "a", "1");
    set(&notes, "b", "2");
    failmalloc_try(try_notes, NULL);
    notes_deinit(&notes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_last_record_counts, setup),
        cmocka_unit_test_setup(test_all_are_appended, setup),
        cmocka_unit_test_setup(test_invalid_records_are_refused, setup),
        cmocka_unit_test(test_text_is_too_long),
        cmocka_unit_test_setup(test_no_memory, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
