/* SPDX-License-Identifier: Apache-2.0 */
#include "node/condition_patches.h"

#include "base/log.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/node/scripted_api.h"

struct fixture {
    struct condition_patches *patches;
    struct condition_patch *patch;
    mono_us now;
    size_t n_results[CONDITION_PATCH_RESULTS];
};

static void on_done(void *userdata, enum condition_patch_result result)
{
    struct fixture *f = userdata;

    f->patch = NULL;
    f->n_results[result]++;
}

static int set_up(void **state)
{
    static struct fixture f;
    const struct condition_patches_options options = {.calls = &api_calls, .done = on_done};

    f = (struct fixture){.now = SPAN_SEC(1000)};
    api_reset();
    *state = &f;
    return condition_patches_new(&options, &f.patches);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->patch = condition_patch_free(f->patch);
    condition_patches_free(f->patches);
    assert_int_equal(server.n_open, 0);
    return 0;
}

static int write_to(struct fixture *f, const char *namespace)
{
    static struct source source;
    const struct condition_patch_pod pod = {.namespace = namespace, .name = "web-0", .uid = "u-1"};
    const struct condition_known written = {.status = "False",
                                            .reason = "UpdateHeld",
                                            .message = "secret/prod/db@12: an update is held",
                                            .last_transition = "2026-01-01T00:00:00.000Z"};

    return condition_patches_write(f->patches, &source, &pod, &written, f, f->now, &f->patch);
}

static void answer(int status)
{
    api_answer(api_newest(), status, "{}");
}

static void test_request(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    assert_true(server.requests[0].is_patch);
    assert_string_equal(server.requests[0].path, "/api/v1/namespaces/prod/pods/web-0/status");
    assert_string_equal(server.requests[0].body,
                        "{\"metadata\":{\"uid\":\"u-1\"},\"status\":{\"conditions\":[{\"type\":"
                        "\"secretfs.io/SecretsCurrent\",\"status\":\"False\",\"reason\":"
                        "\"UpdateHeld\",\"message\":\"secret/prod/db@12: an update is held\","
                        "\"lastTransitionTime\":\"2026-01-01T00:00:00.000Z\"}]}}");
    answer(200);
    assert_int_equal(f->n_results[CONDITION_PATCH_WRITTEN], 1);
}

static void test_pod_is_gone(void **state)
{
    static const int statuses[] = {404, 409};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(statuses); i++) {
        assert_int_equal(write_to(f, "prod"), 0);
        answer(statuses[i]);
        assert_int_equal(f->n_results[CONDITION_PATCH_GONE], i + 1);
    }
    assert_int_equal(write_to(f, "prod"), 0); /* nothing is held against the namespace */
    answer(200);
}

static void test_burst_and_rate(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < CONDITION_PATCHES_BURST; i++) {
        assert_int_equal(write_to(f, "prod"), 0);
        answer(200);
    }
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    f->now += SPAN_SEC(60) / CONDITION_PATCHES_PER_MINUTE;
    assert_int_equal(write_to(f, "prod"), 0);
    answer(200);
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    assert_int_equal(server.n_requests, CONDITION_PATCHES_BURST + 1);
}

/* Of one namespace, for ten minutes. */
static void test_refusal(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    answer(403);
    assert_int_equal(f->n_results[CONDITION_PATCH_FAILED], 1);
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    assert_int_equal(write_to(f, "test"), 0);
    answer(200);
    f->now += SPAN_SEC(600);
    assert_int_equal(write_to(f, "prod"), 0);
    answer(200);
}

/* Of all namespaces; the wait doubles. */
static void test_failing_server(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    answer(503);
    assert_int_equal(write_to(f, "test"), -EAGAIN);
    f->now += SPAN_SEC(15);
    server.send_result = -EIO;
    assert_int_equal(write_to(f, "test"), -EIO);
    server.send_result = 0;
    f->now += SPAN_SEC(29);
    assert_int_equal(write_to(f, "test"), -EAGAIN);
    f->now += SPAN_SEC(1);
    assert_int_equal(write_to(f, "test"), 0);
    answer(200);
    assert_int_equal(f->n_results[CONDITION_PATCH_WRITTEN], 1);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    assert_int_equal(server.n_open, 1);
    f->patch = condition_patch_free(f->patch);
    assert_int_equal(server.n_open, 0);
    assert_int_equal(f->n_results[CONDITION_PATCH_FAILED], 0);
}

static int try_writing(void *userdata)
{
    struct fixture *f = userdata;
    int r;

    f->now += SPAN_SEC(300); /* after a failure */
    r = write_to(f, "prod");
    assert_true(r == 0 || r == -ENOMEM);
    if (r == 0)
        answer(200);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(try_writing, *state);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_request),   TEST(test_pod_is_gone),    TEST(test_burst_and_rate),
        TEST(test_refusal),   TEST(test_failing_server), TEST(test_cancelled),
        TEST(test_no_memory),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
