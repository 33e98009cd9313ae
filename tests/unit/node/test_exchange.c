/* SPDX-License-Identifier: Apache-2.0 */
#include "node/exchange.h"

#include "tests/unit/node/scripted_api.h"

#define BODY_MAX 8u

static struct {
    struct exchange exchange;
    unsigned n_done;
    bool has_failed;
    bool cancels_in_piece;
    char pieces[64];
} world;

static void on_done(void *userdata, const struct error *error)
{
    world.n_done++;
    world.has_failed = error != NULL;
}

static void on_piece(void *userdata, const char *bytes, size_t len)
{
    assert_true(strlen(world.pieces) + len < sizeof(world.pieces));
    strncat(world.pieces, bytes, len);
    if (world.cancels_in_piece)
        exchange_cancel(&world.exchange);
}

static int set_up(void **state)
{
    const struct exchange_options options = {
        .calls = &api_calls, .body_max = BODY_MAX, .done = on_done, .piece = on_piece};

    api_reset();
    memset(&world, 0, sizeof(world));
    exchange_init(&world.exchange, &options);
    return 0;
}

static int tear_down(void **state)
{
    exchange_deinit(&world.exchange);
    assert_int_equal(server.n_open, 0);
    return 0;
}

static struct api_request *send(bool is_watch)
{
    const struct http_call call = {.path = "/api/v1/pods", .is_watch = is_watch};
    struct error e = ERROR_INIT;

    assert_int_equal(node_api_send(&scripted_api, &world.exchange, &call, &e), 0);
    assert_true(exchange_is_open(&world.exchange));
    return api_newest();
}

static void test_keeps_a_response(void **state)
{
    struct api_request *request = send(false);

    api_begin(request, 201, "one");
    assert_int_equal(world.n_done, 0);
    api_add_body(request, "two");
    api_end(request, HTTP_COMPLETE);
    assert_int_equal(world.n_done, 1);
    assert_false(world.has_failed || exchange_is_open(&world.exchange));
    assert_int_equal(world.exchange.status, 201);
    assert_string_equal(buf_text(&world.exchange.body), "onetwo");
    assert_string_equal(world.pieces, "");
}

/* Nor does a later piece count as a body of its own. */
static void test_keeps_nothing_of_a_response_that_is_too_long(void **state)
{
    struct api_request *request = send(false);

    api_begin(request, 200, "12345678");
    assert_false(world.exchange.is_cut);
    api_add_body(request, "9");
    api_add_body(request, "{}");
    api_end(request, HTTP_COMPLETE);
    assert_false(world.has_failed);
    assert_true(world.exchange.is_cut);
    assert_int_equal(world.exchange.body.len, 0);
}

static void test_forgets_the_last_response(void **state)
{
    api_answer(send(false), 500, "123456789");
    api_end(send(false), HTTP_FAILED);
    assert_int_equal(world.n_done, 2);
    assert_true(world.has_failed);
    assert_false(world.exchange.is_cut);
    assert_int_equal(world.exchange.status, 0);
}

static void test_hands_over_pieces_of_a_watch(void **state)
{
    struct api_request *request = send(true);

    api_begin(request, 200, "one");
    world.cancels_in_piece = true;
    api_add_body(request, "two");
    assert_false(request->is_open);
    assert_string_equal(world.pieces, "onetwo");
    assert_int_equal(world.n_done, 0);
}

static void test_keeps_the_refusal_of_a_watch(void **state)
{
    api_answer(send(true), 403, "{}");
    assert_string_equal(world.pieces, "");
    assert_string_equal(buf_text(exchange_refusal(&world.exchange, "").body), "{}");
}

static void test_rejects_credentials_after_401_only(void **state)
{
    api_answer(send(false), 403, "{}");
    exchange_reject_credentials(&world.exchange);
    assert_int_equal(server.n_rejected, 0);
    api_answer(send(false), 401, "{}");
    exchange_reject_credentials(&world.exchange);
    assert_int_equal(server.n_rejected, 1);
}

static void test_cannot_send(void **state)
{
    const struct http_call call = {.path = "/api/v1/pods"};
    struct error e = ERROR_INIT;

    server.open_result = -EOPNOTSUPP;
    assert_int_equal(node_api_send(&scripted_api, &world.exchange, &call, &e), -EOPNOTSUPP);
    server.open_result = 0;
    server.send_result = -EAGAIN;
    assert_int_equal(node_api_send(&scripted_api, &world.exchange, &call, &e), -EAGAIN);
    assert_false(exchange_is_open(&world.exchange));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_keeps_a_response),
        TEST(test_keeps_nothing_of_a_response_that_is_too_long),
        TEST(test_forgets_the_last_response),
        TEST(test_hands_over_pieces_of_a_watch),
        TEST(test_keeps_the_refusal_of_a_watch),
        TEST(test_rejects_credentials_after_401_only),
        TEST(test_cannot_send),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
