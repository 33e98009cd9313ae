/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/candidate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/make_payload.h"

struct world {
    struct candidate c;
    struct payload *first, *same, *second, *third;
};

static int setup(void **state)
{
    static struct world w;

    w = (struct world){.first = payload_make("a=1"),
                       .same = payload_make("a=1"),
                       .second = payload_make("a=2"),
                       .third = payload_make("a=3")};
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    candidate_drop(&w->c);
    payload_unref(w->first);
    payload_unref(w->same);
    payload_unref(w->second);
    payload_unref(w->third);
    return 0;
}

/* Offer content, and begin its check if none runs. Return: whether it begins. */
static bool offer(struct world *w, struct payload *payload, mono_us received_at)
{
    candidate_offer(&w->c, payload, received_at);
    return candidate_begin(&w->c);
}

/* Return: whether something older has passed. */
static bool end(struct world *w, const struct payload *payload, const char *reason, mono_us now)
{
    struct payload *older;

    assert_true(candidate_end(&w->c, payload, reason != NULL ? VOLUME_REFUSED : VOLUME_ACCEPTED,
                              reason, now, &older));
    assert_null(w->c.running);
    assert_true(older == NULL || older == payload);
    payload_unref(older);
    return older != NULL;
}

static void assert_in_vain(struct world *w, const struct payload *payload)
{
    struct payload *older;

    assert_false(candidate_end(&w->c, payload, VOLUME_ACCEPTED, NULL, 3, &older));
    assert_null(older);
}

static void test_content_is_checked_once(void **state)
{
    struct world *w = *state;

    assert_true(offer(w, w->first, 5));
    assert_false(offer(w, w->same, 6));
    assert_ptr_equal(w->c.running, w->first);
    assert_int_equal(w->c.received_at, 5);
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_false(end(w, w->first, NULL, 7));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
    assert_false(offer(w, w->same, 8));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
}

static void test_newer_content_waits(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    assert_false(offer(w, w->second, 2));
    assert_false(offer(w, w->third, 3));
    assert_int_equal(w->c.running_received_at, 1);
    assert_true(end(w, w->first, NULL, 4));
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_true(candidate_begin(&w->c));
    assert_ptr_equal(w->c.running, w->third);
    assert_int_equal(w->c.running_received_at, 3);
    assert_in_vain(w, w->first);
    assert_false(end(w, w->third, "why", 4));
    assert_true(offer(w, w->first, 5));
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_string_equal(kept_error_text(&w->c.reason), "");
}

static void test_older_content_is_refused(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    offer(w, w->second, 2);
    assert_false(end(w, w->first, "why", 3));
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER);
    assert_true(candidate_begin(&w->c));
    assert_string_equal(kept_error_text(&w->c.reason), "why");
    assert_false(end(w, w->second, NULL, 4));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
    assert_string_equal(kept_error_text(&w->c.reason), "");
}

/* There and back while it is checked. */
static void test_content_that_returns(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    offer(w, w->second, 2);
    assert_false(offer(w, w->same, 3));
    assert_false(end(w, w->first, NULL, 4));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
}

static void test_what_is_refused_is_checked_again(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER);
    assert_false(candidate_check_again(&w->c, 1));
    end(w, w->first, "why", 10);
    assert_int_equal(candidate_due(&w->c), 10 + CANDIDATE_CHECK_AGAIN);
    assert_false(candidate_check_again(&w->c, 9 + CANDIDATE_CHECK_AGAIN));
    assert_true(candidate_check_again(&w->c, 10 + CANDIDATE_CHECK_AGAIN));
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER); /* it runs */
    assert_int_equal(w->c.state, CANDIDATE_REFUSED);
    assert_string_equal(kept_error_text(&w->c.reason), "why");
    assert_false(end(w, w->first, NULL, 20));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
}

static void test_a_check_that_does_not_run_is_tried_again(void **state)
{
    struct world *w = *state;
    static const unsigned delays_s[] = {1, 2, 4, 8, 16, 32, 60, 60};
    struct payload *older;
    mono_us now = 10;

    offer(w, w->first, 1);
    for (size_t i = 0; i < ELEMENTS_OF(delays_s); i++) {
        assert_true(
            candidate_end(&w->c, w->first, VOLUME_NOT_CHECKED, "cannot be run", now, &older));
        assert_null(older);
        assert_int_equal(w->c.state, CANDIDATE_REFUSED);
        assert_int_equal(candidate_due(&w->c), now + SPAN_SEC(delays_s[i]));
        now = candidate_due(&w->c);
        assert_true(candidate_check_again(&w->c, now));
    }
    end(w, w->first, "why", now);
    assert_int_equal(candidate_due(&w->c), now + CANDIDATE_CHECK_AGAIN);
    assert_true(candidate_check_again(&w->c, now + CANDIDATE_CHECK_AGAIN));
    assert_true(candidate_end(&w->c, w->first, VOLUME_NOT_CHECKED, "cannot be run", now, &older));
    assert_int_equal(candidate_due(&w->c), now + SPAN_SEC(1));
}

/* New content does not wait for what was refused before. */
static void test_other_content_ends_another_check(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    end(w, w->first, "why", 10);
    assert_true(candidate_check_again(&w->c, 10 + CANDIDATE_CHECK_AGAIN));
    assert_true(offer(w, w->second, 20));
    assert_ptr_equal(w->c.running, w->second);
    assert_in_vain(w, w->first);
}

/* It is due again. */
static void test_another_check_is_cancelled(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    end(w, w->first, "why", 10);
    assert_true(candidate_check_again(&w->c, 10 + CANDIDATE_CHECK_AGAIN));
    candidate_cancel(&w->c);
    assert_false(offer(w, w->same, 20));
    assert_int_equal(w->c.state, CANDIDATE_REFUSED);
    assert_true(candidate_check_again(&w->c, 20));
    assert_ptr_equal(w->c.running, w->same);
}

static void test_a_check_of_what_was_dropped(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    candidate_drop(&w->c);
    assert_in_vain(w, w->first);
    assert_int_equal(w->c.state, CANDIDATE_NONE);
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER);
}

static void test_a_check_of_what_was_cancelled(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    offer(w, w->second, 2);
    candidate_cancel(&w->c);
    assert_in_vain(w, w->first);
    assert_true(candidate_begin(&w->c));
    assert_ptr_equal(w->c.running, w->second);
}

static void test_no_newer_content_can_be_shown(void **state)
{
    struct world *w = *state;

    offer(w, w->first, 1);
    candidate_withdraw(&w->c);
    assert_int_equal(w->c.state, CANDIDATE_NONE);
    assert_false(candidate_begin(&w->c));
    assert_true(end(w, w->first, NULL, 2));
    assert_int_equal(w->c.state, CANDIDATE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_content_is_checked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_content_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_older_content_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_content_that_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_refused_is_checked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_check_that_does_not_run_is_tried_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_other_content_ends_another_check, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_check_is_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_check_of_what_was_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_check_of_what_was_cancelled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_newer_content_can_be_shown, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
