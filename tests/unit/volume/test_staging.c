/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/staging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"

#define N_PODS 10000

static struct object *make(const char *key, const char *value)
{
    const struct object like = {.key = {OBJECT_SECRET, "prod", "db", NULL}};
    const struct object_input input = {.key = key, .text = value, .len = strlen(value)};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    return object;
}

static uint64_t place_of(unsigned pod, const struct object *object)
{
    char uid[64];

    snprintf(uid, sizeof(uid), "11111111-2222-3333-4444-%012u", pod);
    return staging_place(uid, object);
}

/* A tenth of the pods is in each tenth of the places. */
static void test_places_are_spread_evenly(void **state)
{
    _cleanup_(object_unrefp) struct object *object = make("k", "v");
    unsigned n_in[10] = {0};

    for (unsigned pod = 0; pod < N_PODS; pod++) {
        uint64_t place = place_of(pod, object);

        assert_true(place < STAGING_PLACES);
        n_in[place / (STAGING_PLACES / 10 + 1)]++;
    }
    for (size_t i = 0; i < ELEMENTS_OF(n_in); i++)
        if (n_in[i] < 850 || n_in[i] > 1150) /* five standard deviations; the places are fixed */
            fail_msg("%u of %d in part %zu", n_in[i], N_PODS, i);
}

/* A node computes what another one computed, and what it computed before it was started again. */
static void test_place_is_of_the_content_alone(void **state)
{
    _cleanup_(object_unrefp) struct object *one = make("k", "v");
    _cleanup_(object_unrefp) struct object *same = make("k", "v");

    assert_int_equal(place_of(1, one), place_of(1, same));
    assert_int_equal(staging_place("11111111-2222-3333-4444-000000000001", one), 3680548497);
}

/* Those that were first for one version are spread evenly for the next one. */
static void test_places_for_another_content_are_independent(void **state)
{
    _cleanup_(object_unrefp) struct object *one = make("k", "v");
    _cleanup_(object_unrefp) struct object *two = make("k", "w");
    unsigned n_first = 0, n_again = 0;

    for (unsigned pod = 0; pod < N_PODS; pod++) {
        if (place_of(pod, one) >= STAGING_PLACES / 10)
            continue;
        n_first++;
        n_again += place_of(pod, two) < STAGING_PLACES / 10;
    }
    assert_between(n_first, 850, 1150);
    assert_between(n_again, 50, 150);
}

/* Where a value ends is part of the content. */
static void test_keys_and_values_have_different_places(void **state)
{
    _cleanup_(object_unrefp) struct object *one = make("ka", "b");
    _cleanup_(object_unrefp) struct object *two = make("k", "ab");

    assert_int_not_equal(place_of(1, one), place_of(1, two));
}

static void test_delays(void **state)
{
    const uint64_t last = STAGING_PLACES - 1, middle = STAGING_PLACES / 2;
    const span_us over = SPAN_SEC(600);
    const struct {
        struct object_staging staging;
        uint64_t place;
        span_us from, to;
    } cases[] = {
        {{.is_paused = false}, last, 0, 0},
        {{.is_paused = true, .over = over}, 0, SPAN_FOREVER, SPAN_FOREVER},
        {{.invalid = "x"}, 0, SPAN_FOREVER, SPAN_FOREVER},
        {{.over = over}, 0, 0, 0},
        {{.over = over}, middle, over / 2, over / 2},
        {{.over = over}, last, over - 1000, over},
        {{.has_first = true, .first_percent = 10}, STAGING_PLACES / 11, 0, 0},
        {{.has_first = true, .first_percent = 10}, STAGING_PLACES / 9, SPAN_FOREVER, SPAN_FOREVER},
        {{.has_first = true, .first_percent = 0}, 0, SPAN_FOREVER, SPAN_FOREVER},
        {{.has_first = true, .first_percent = 100}, last, 0, 0},
        {{.has_first = true, .first_percent = 50, .over = over}, middle - 100, 0, 0},
        {{.has_first = true, .first_percent = 50, .over = over}, middle, 0, 1000},
        {{.has_first = true, .first_percent = 50, .over = over},
         middle / 2 * 3,
         over / 2 - 1000,
         over / 2 + 1000},
        {{.has_first = true, .first_percent = 50, .over = over}, last, over - 1000, over},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        span_us delay = staging_delay(&cases[i].staging, cases[i].place, NULL);

        if (delay < cases[i].from || delay > cases[i].to)
            fail_msg("case %zu: %llu", i, (unsigned long long)delay);
    }
}

/* Those that a selector selects are first; without known labels a pod is not. */
static void test_delays_by_labels(void **state)
{
    const uint64_t last = STAGING_PLACES - 1, middle = STAGING_PLACES / 2;
    const span_us over = SPAN_SEC(600);
    const struct {
        struct object_staging staging;
        const char *labels;
        uint64_t place;
        span_us delay;
    } cases[] = {
        {{.has_first = true, .first_selector = "a=b"}, "a\0b\0", last, 0},
        {{.has_first = true, .first_selector = "a=b"}, "a\0c\0", 0, SPAN_FOREVER},
        {{.has_first = true, .first_selector = "!a"}, "", last, 0},
        {{.has_first = true, .first_selector = "!a"}, NULL, 0, SPAN_FOREVER},
        {{.has_first = true, .first_selector = "a", .over = over}, "a\0\0", last, 0},
        {{.has_first = true, .first_selector = "a", .over = over}, "b\0\0", middle, over / 2},
        {{.has_first = true, .first_selector = "a", .over = over}, NULL, middle, over / 2},
        {{.has_first = true, .first_selector = "a", .is_paused = true}, "a\0\0", 0, SPAN_FOREVER},
        {{.invalid = "x", .first_selector = "a"}, "a\0\0", 0, SPAN_FOREVER},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        if (staging_delay(&cases[i].staging, cases[i].place, cases[i].labels) != cases[i].delay)
            fail_msg("case %zu", i);
}

/* A greater place is not earlier, and a greater first share makes no one later. */
static void test_delays_are_monotone(void **state)
{
    struct object_staging s = {.has_first = true, .over = SPAN_SEC(3600)};
    span_us before[100];

    for (s.first_percent = 0; s.first_percent <= 100; s.first_percent++)
        for (size_t i = 0; i < ELEMENTS_OF(before); i++) {
            span_us delay = staging_delay(&s, STAGING_PLACES / 100 * i, NULL);

            assert_true(i == 0 || delay >= staging_delay(&s, STAGING_PLACES / 100 * (i - 1), NULL));
            assert_true(s.first_percent == 0 || delay <= before[i]);
            before[i] = delay;
        }
}

static void test_explanations(void **state)
{
    static const struct {
        struct object_staging staging;
        const char *labels, *text;
    } cases[] = {
        {{.is_paused = true}, NULL, "paused by annotation secretfs.io/pause"},
        {{.over = 1},
         NULL,
         "its turn comes within the time of annotation secretfs.io/rollout-over"},
        {{.has_first = true}, NULL, "others are first by annotation secretfs.io/rollout-first"},
        {{.has_first = true, .first_selector = "a"},
         "",
         "others are first by annotation secretfs.io/rollout-first"},
        {{.has_first = true, .first_selector = "a"},
         NULL,
         "others are first by annotation secretfs.io/rollout-first, as no labels of a pod are "
         "known for this volume"},
    };
    const struct object_staging invalid = {.invalid = "secretfs.io/pause"};
    const struct object_staging selector = {.invalid = "secretfs.io/rollout-first",
                                            .first_selector = "a in"};
    struct error e = ERROR_INIT;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        staging_explain(&cases[i].staging, cases[i].labels, &e);
        assert_string_equal(e.text, cases[i].text);
    }
    staging_explain(&invalid, NULL, &e);
    assert_non_null(strstr(e.text, "its annotation secretfs.io/pause is invalid: expected "));
    assert_non_null(strstr(e.text, "\"canary=true\" for secretfs.io/rollout-first"));
    assert_null(strstr(e.text, "as a label selector"));
    staging_explain(&selector, "", &e);
    assert_non_null(strstr(e.text, "; as a label selector it ends where ( of a list of values"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_are_spread_evenly),
        cmocka_unit_test(test_place_is_of_the_content_alone),
        cmocka_unit_test(test_places_for_another_content_are_independent),
        cmocka_unit_test(test_keys_and_values_have_different_places),
        cmocka_unit_test(test_delays),
        cmocka_unit_test(test_delays_by_labels),
        cmocka_unit_test(test_delays_are_monotone),
        cmocka_unit_test(test_explanations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
