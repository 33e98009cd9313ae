/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/shared/object_wait.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* A command that waits for key "passwrd" of a Secret. */
struct fixture {
    sd_event *event;
    struct source_options from;
    struct object_wait wait;
    struct object_key key;
    struct object *object;
    const char *reason; /* why it is missing */
    int result;
    bool is_known; /* what is missing */
    unsigned n_over;
    struct error over;
};

static int why(void *userdata, struct error *e)
{
    const struct fixture *f = userdata;

    return error_set(e, f->result, "%s", f->reason);
}

static bool find(void *userdata, struct missing *ret_missing)
{
    const struct fixture *f = userdata;

    *ret_missing = (struct missing){.key = &f->key, .object = f->object, .data_key = "passwrd"};
    return f->is_known;
}

static void over(void *userdata, const struct error *reason)
{
    struct fixture *f = userdata;

    f->n_over++;
    f->over = *reason;
}

static int setup(void **state)
{
    static const struct object_input inputs[] = {
        {.key = "user", .text = "dummy", .len = 5, .encoding = OBJECT_RAW},
        {.key = "password", .text = "dummy", .len = 5, .encoding = OBJECT_RAW},
    };
    struct fixture *f = calloc(1, sizeof(*f));
    struct object like;

    assert_non_null(f);
    assert_int_equal(sd_event_new(&f->event), 0);
    f->from = SOURCE_OPTIONS_INIT;
    f->key = (struct object_key){.kind = OBJECT_SECRET, .namespace = "default", .name = "db"};
    like = (struct object){.key = f->key};
    assert_int_equal(object_new(&like, inputs, ELEMENTS_OF(inputs), &f->object, NULL), 0);
    f->reason = "no key passwrd";
    f->result = -ENOENT;
    f->is_known = true;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    object_wait_end(&f->wait);
    object_unref(f->object);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

static void begin(struct fixture *f, span_us limit)
{
    const struct object_wait_options options = {
        .from = &f->from, .why = why, .find = find, .over = over, .userdata = f};

    f->from.wait = limit;
    assert_int_equal(object_wait_begin(&f->wait, f->event, &options, NULL), 0);
}

static void run_until_over(struct fixture *f)
{
    while (f->n_over == 0)
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
}

static void no_limit_fails_with_the_names(void **state)
{
    struct fixture *f = *state;

    begin(f, 0);
    object_wait_answered(&f->wait);
    assert_string_equal(f->over.text,
                        "no key passwrd; secret/default/db has the keys: password, user");
    object_wait_answered(&f->wait);
    assert_int_equal(f->n_over, 1);
    assert_int_equal(f->wait.phase, OBJECT_WAIT_NONE);
}

/* A failing source says nothing of names. */
static void source_that_fails(void **state)
{
    struct fixture *f = *state;

    f->reason = "connection refused";
    f->result = -EIO;
    begin(f, SPAN_FOREVER);
    object_wait_answered(&f->wait);
    assert_int_equal(f->wait.phase, OBJECT_WAIT_SILENT);
    f->result = -ENOENT;
    object_wait_answered(&f->wait);
    assert_int_equal(f->wait.phase, OBJECT_WAIT_REPORTED);
    assert_int_equal(f->n_over, 0);
}

static void source_that_fails_without_a_limit(void **state)
{
    struct fixture *f = *state;

    f->reason = "connection refused";
    f->result = -EIO;
    begin(f, 0);
    object_wait_answered(&f->wait);
    assert_string_equal(f->over.text, "connection refused");
}

static void names_are_repeated_at_the_end(void **state)
{
    struct fixture *f = *state;

    begin(f, SPAN_MS(1));
    object_wait_answered(&f->wait);
    run_until_over(f);
    assert_string_equal(
        f->over.text,
        "gave up after 0.001 s: no key passwrd; secret/default/db has the keys: password, user");
}

/* What is missing has changed meanwhile: the names are not about it. */
static void names_belong_to_what_was_reported(void **state)
{
    struct fixture *f = *state;

    begin(f, SPAN_MS(1));
    object_wait_answered(&f->wait);
    f->reason = "no Secret web";
    run_until_over(f);
    assert_string_equal(f->over.text, "gave up after 0.001 s: no Secret web");
}

/* Refused for another reason than a missing name. */
static void nothing_known_is_missing(void **state)
{
    struct fixture *f = *state;

    f->is_known = false;
    begin(f, 0);
    object_wait_answered(&f->wait);
    assert_string_equal(f->over.text, "no key passwrd");
}

static void ended_wait_is_silent(void **state)
{
    struct fixture *f = *state;

    object_wait_answered(&f->wait);
    begin(f, 0);
    object_wait_end(&f->wait);
    object_wait_answered(&f->wait);
    assert_int_equal(f->n_over, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_limit_fails_with_the_names),
        TEST(source_that_fails),
        TEST(source_that_fails_without_a_limit),
        TEST(names_are_repeated_at_the_end),
        TEST(names_belong_to_what_was_reported),
        TEST(nothing_known_is_missing),
        TEST(ended_wait_is_silent),
    };

    return cmocka_run_group_tests_name("object_wait", tests, NULL, NULL);
}
