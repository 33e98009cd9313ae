/* SPDX-License-Identifier: Apache-2.0 */
#include "handover/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define SIZE STATE_SIZE_MIN

struct fixture {
    uint8_t *memory;
    struct state state;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->memory = calloc(1, SIZE);
    state_create(&f->state, f->memory, SIZE, 7, "1.2.3");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->memory);
    free(f);
    return 0;
}

static uint64_t append(struct fixture *f, uint16_t type, const char *checked, const char *unchecked)
{
    return state_append(&f->state, type, checked, strlen(checked), unchecked, strlen(unchecked));
}

/* Three commits, of one, two and one records. */
static void fill(struct fixture *f)
{
    append(f, 1, "first", "");
    assert_true(state_commit(&f->state));
    append(f, 2, "second", "secret-dummy-1");
    append(f, 3, "", "");
    assert_true(state_commit(&f->state));
    append(f, 4, "the fourth of all", "dummy-2");
    assert_true(state_commit(&f->state));
}

static int open_copy(const uint8_t *memory, uint64_t size, struct state *ret_state, struct error *e)
{
    static _Alignas(64) uint8_t copy[SIZE];

    memcpy(copy, memory, SIZE);
    return state_open(ret_state, copy, size, e);
}

static void test_reads_what_was_committed(void **state)
{
    struct fixture *f = *state;
    struct state_record record = {0};
    struct state opened;
    struct error e = ERROR_INIT;

    fill(f);
    append(f, 5, "not committed", "");
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), 0);
    assert_int_equal(state_number(&opened), 7);
    for (uint16_t type = 1; type <= 4; type++) {
        assert_true(state_next(&opened, &record));
        assert_int_equal(record.type, type);
    }
    assert_int_equal(record.checked_len, strlen("the fourth of all"));
    assert_memory_equal(record.checked, "the fourth of all", record.checked_len);
    assert_int_equal(record.unchecked_len, strlen("dummy-2"));
    assert_memory_equal(record.unchecked, "dummy-2", record.unchecked_len);
    assert_false(state_next(&opened, &record));
}

static void test_next_process_appends(void **state)
{
    struct fixture *f = *state;
    struct state_record record = {0};
    struct state opened;
    struct error e = ERROR_INIT;
    unsigned n = 0;

    fill(f);
    append(f, 5, "not committed", "");
    assert_int_equal(state_open(&opened, f->memory, SIZE, &e), 0);
    assert_int_not_equal(state_append(&opened, 6, "by the next", 11, NULL, 0), 0);
    assert_true(state_commit(&opened));
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), 0);
    while (state_next(&opened, &record))
        n++;
    assert_int_equal(n, 5);
    assert_int_equal(record.type, 6);
}

/* A process may end between any two of the bytes that it writes. */
static void test_each_prefix_of_a_write(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) uint8_t *before = malloc(SIZE), *after = malloc(SIZE);
    struct state opened;
    struct error e = ERROR_INIT;
    uint64_t end;

    append(f, 1, "first", "dummy-1");
    assert_true(state_commit(&f->state));
    end = state_used_bytes(&f->state);
    memcpy(before, f->memory, SIZE);
    append(f, 2, "second", "dummy-2");
    memcpy(after, f->memory, SIZE);
    for (uint64_t n = end; n <= state_used_bytes(&f->state); n++) {
        memcpy(before + end, after + end, n - end);
        assert_int_equal(open_copy(before, SIZE, &opened, &e), 0);
        assert_int_equal(state_used_bytes(&opened), end);
    }
}

static void test_before_the_first_commit(void **state)
{
    struct fixture *f = *state;
    struct state opened;
    struct error e = ERROR_INIT;

    append(f, 1, "first", "");
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), STATE_EMPTY);
}

static void test_each_flipped_bit_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state opened;
    uint64_t end;

    append(f, 1, "first", "");
    append(f, 2, "a second one", "");
    assert_true(state_commit(&f->state));
    end = state_used_bytes(&f->state);
    for (uint64_t bit = 0; bit < end * 8; bit++) {
        struct error e = ERROR_INIT;
        int r;

        f->memory[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = open_copy(f->memory, SIZE, &opened, &e);
        f->memory[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (r == 0) /* what fills a record up has no meaning */
            assert_int_equal(f->memory[bit / 8], 0);
        else
            assert_true((r == -EBADMSG || r == -EPROTONOSUPPORT) && e.text[0] != '\0');
    }
}

static void test_other_memory_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state opened;
    struct error e = ERROR_INIT;

    fill(f);
    assert_int_equal(open_copy(f->memory, SIZE / 2, &opened, &e), -EBADMSG);
    assert_int_equal(open_copy(f->memory, 16, &opened, &e), -EBADMSG);
    memset(f->memory, 0, SIZE);
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), -EBADMSG);
    assert_string_equal(e.text, "the stored descriptor has no state of secretfs");
}

static void test_newer_format_is_refused_in_words(void **state)
{
    struct fixture *f = *state;
    struct state opened;
    struct error e = ERROR_INIT;

    fill(f);
    f->state.header->format = STATE_FORMAT + 1;
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), -EPROTONOSUPPORT);
    assert_string_equal(e.text,
                        "secretfs 1.2.3 has written the stored state, in format 3; this version "
                        "reads formats up to 2: start the newer version again");
}

static void test_formats_that_are_read(void **state)
{
    for (uint32_t format = STATE_FORMAT_FIRST; format <= STATE_FORMAT; format++) {
        struct fixture *f = *state;
        struct state opened;

        memset(f->memory, 0, SIZE);
        state_create(&f->state, f->memory, SIZE, 7, "1.2.3");
        state_require_format(&f->state, format);
        fill(f);
        assert_int_equal(f->state.header->format, format);
        assert_int_equal(open_copy(f->memory, SIZE, &opened, NULL), 0);
    }
}

static void test_full(void **state)
{
    struct fixture *f = *state;
    _cleanup_(freep) char *large = calloc(1, SIZE);
    struct state opened;
    struct error e = ERROR_INIT;

    fill(f);
    assert_int_equal(state_append(&f->state, 5, "x", 1, large, SIZE - 200), 0);
    assert_int_not_equal(append(f, 6, "small enough", ""), 0);
    assert_false(state_commit(&f->state));
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), STATE_DISCARDED);
}

static bool contains(const uint8_t *memory, const char *text)
{
    return memmem(memory, SIZE, text, strlen(text)) != NULL;
}

static void test_wipe(void **state)
{
    struct fixture *f = *state;
    uint64_t offset = append(f, 1, "name", "dummy-1");
    struct state opened;
    struct error e = ERROR_INIT;

    append(f, 2, "other", "dummy-2");
    assert_true(state_commit(&f->state));
    assert_true(contains(f->memory, "dummy-1"));
    state_wipe(&f->state, offset);
    assert_false(contains(f->memory, "dummy-1"));
    assert_true(contains(f->memory, "dummy-2"));
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), 0);
}

static void test_discard(void **state)
{
    struct fixture *f = *state;
    struct state opened;
    struct error e = ERROR_INIT;

    fill(f);
    state_discard(&f->state);
    assert_false(contains(f->memory, "dummy-1") || contains(f->memory, "dummy-2"));
    assert_int_equal(open_copy(f->memory, SIZE, &opened, &e), STATE_DISCARDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_what_was_committed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_next_process_appends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_prefix_of_a_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_before_the_first_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_flipped_bit_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_memory_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_format_is_refused_in_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_formats_that_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wipe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_discard, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
