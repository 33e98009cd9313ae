/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/keeper_request.h"

static void test_outcomes(void **state)
{
    static const struct {
        const char *sent;
        enum keeper_outcome outcome;
        const char *messages;
    } cases[] = {
        {"HANDOVER=done\n", KEEPER_OUTCOME_DONE, ""},
        {"one\ntwo\nHANDOVER=done\n", KEEPER_OUTCOME_DONE, "one\ntwo\n"},
        {"why\nHANDOVER=failed\n", KEEPER_OUTCOME_FAILED, "why\n"},
        {"HANDOVER=done\nHANDOVER=failed\n", KEEPER_OUTCOME_FAILED, "HANDOVER=done\n"},
        {"", KEEPER_OUTCOME_UNKNOWN, ""},
        {"HANDOVER=done", KEEPER_OUTCOME_UNKNOWN, "HANDOVER=done"},
        {"not HANDOVER=done\n", KEEPER_OUTCOME_UNKNOWN, "not HANDOVER=done\n"},
        {"HANDOVER=done\nwhy\n", KEEPER_OUTCOME_UNKNOWN, "HANDOVER=done\nwhy\n"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(buf_deinit) struct buf sent = BUF_INIT(KEEPER_REQUEST_MESSAGES_MAX);

        assert_int_equal(buf_add_text(&sent, cases[i].sent), 0);
        assert_int_equal(keeper_outcome_cut(&sent), cases[i].outcome);
        assert_string_equal(buf_text(&sent), cases[i].messages);
    }
}

static void test_sockets(void **state)
{
    assert_true(keeper_request_is_keeper("/run/secretfs-keeper-aB3x9_/notify"));
    assert_false(keeper_request_is_keeper("/run/systemd/notify"));
    assert_false(keeper_request_is_keeper("/run/secretfs-keeper-aB3x9_/other"));
    assert_false(keeper_request_is_keeper("/run/keeper/secretfs-keeper-x"));
    assert_false(keeper_request_is_keeper("@/org/freedesktop/systemd"));
    assert_false(keeper_request_is_keeper("notify"));
    assert_false(keeper_request_is_keeper("/notify"));
}

static void test_a_missing_socket(void **state)
{
    _cleanup_(buf_deinit) struct buf messages = BUF_INIT(KEEPER_REQUEST_MESSAGES_MAX);
    struct error e = ERROR_INIT;

    assert_int_equal(
        keeper_request_hand_over("/nonexistent/secretfs-keeper-x/notify", &messages, &e), -ENOENT);
    assert_int_equal(keeper_request_hand_over("no-path", &messages, &e), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outcomes),
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_a_missing_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
