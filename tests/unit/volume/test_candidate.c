/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/candidate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/make_payload.h"

struct world {
    struct candidate c;
    struct payload *first, *same, *second;
};

static int setup(void **state)
{
    static struct world w;

    w = (struct world){
        .first = payload_make("a=1"), .same = payload_make("a=1"), .second = payload_make("a=2")};
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
    return 0;
}

static void test_content_is_checked_once(void **state)
{
    struct world *w = *state;

    assert_true(candidate_offer(&w->c, w->first, 5));
    assert_false(candidate_offer(&w->c, w->same, 6));
    assert_ptr_equal(w->c.payload, w->first);
    assert_int_equal(w->c.received_at, 5);
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_true(candidate_end(&w->c, w->first, NULL, 7));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
    assert_false(candidate_offer(&w->c, w->same, 8));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
}

static void test_other_content_replaces_it(void **state)
{
    struct world *w = *state;

    candidate_offer(&w->c, w->first, 1);
    assert_true(candidate_offer(&w->c, w->second, 2));
    assert_false(candidate_end(&w->c, w->first, NULL, 3)); /* the earlier check */
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_true(candidate_end(&w->c, w->second, "why", 4));
    assert_true(candidate_offer(&w->c, w->first, 5));
    assert_int_equal(w->c.state, CANDIDATE_CHECKING);
    assert_string_equal(kept_error_text(&w->c.reason), "");
}

static void test_what_is_refused_is_checked_again(void **state)
{
    struct world *w = *state;

    candidate_offer(&w->c, w->first, 1);
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER);
    assert_false(candidate_check_again(&w->c, 1));
    candidate_end(&w->c, w->first, "why", 10);
    assert_int_equal(candidate_due(&w->c), 10 + CANDIDATE_CHECK_AGAIN);
    assert_false(candidate_check_again(&w->c, 9 + CANDIDATE_CHECK_AGAIN));
    assert_true(candidate_check_again(&w->c, 10 + CANDIDATE_CHECK_AGAIN));
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER); /* it runs */
    assert_int_equal(w->c.state, CANDIDATE_REFUSED);
    assert_string_equal(kept_error_text(&w->c.reason), "why");
    assert_true(candidate_end(&w->c, w->first, NULL, 20));
    assert_int_equal(w->c.state, CANDIDATE_PASSED);
}

static void test_a_check_of_what_was_dropped(void **state)
{
    struct world *w = *state;

    candidate_offer(&w->c, w->first, 1);
    candidate_drop(&w->c);
    assert_false(candidate_end(&w->c, w->first, NULL, 2));
    assert_int_equal(w->c.state, CANDIDATE_NONE);
    assert_int_equal(candidate_due(&w->c), SPAN_FOREVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_content_is_checked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_content_replaces_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_refused_is_checked_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_check_of_what_was_dropped, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
