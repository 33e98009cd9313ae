/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/log.h"
#include "node/condition_patches.h"

#include "tests/unit/failmalloc.h"

/* The last request, which the test answers. */
struct fixture {
    struct condition_patches *patches;
    struct condition_patch *patch;
    mono_us now;
    int send_result;
    char path[512], body[4096];
    bool is_patch;
    const struct http_handler *handler;
    void *userdata;
    size_t n_sent, n_open;
    size_t n_results[CONDITION_PATCH_RESULTS];
};
static struct fixture *current;
static struct source source;
static int any_request;

static int send_nowhere(struct source *to, const struct http_call *call,
                        const struct http_handler *handler, void *userdata,
                        struct http_request **ret_request, struct error *e)
{
    struct fixture *f = current;

    assert_ptr_equal(to, &source);
    if (f->send_result < 0)
        return error_set(e, f->send_result, "no connection");
    snprintf(f->path, sizeof(f->path), "%s", call->path);
    snprintf(f->body, sizeof(f->body), "%s", call->body);
    f->is_patch = call->is_patch;
    f->handler = handler;
    f->userdata = userdata;
    f->n_sent++;
    f->n_open++;
    *ret_request = (struct http_request *)(void *)&any_request;
    return 0;
}

static struct http_request *cancel(struct http_request *request)
{
    current->n_open -= request != NULL;
    return NULL;
}

static void on_done(void *userdata, enum condition_patch_result result)
{
    struct fixture *f = userdata;

    f->patch = NULL;
    f->n_results[result]++;
}

static int set_up(void **state)
{
    static struct fixture f;
    const struct condition_patches_options options = {
        .send = send_nowhere, .cancel = cancel, .done = on_done};

    f = (struct fixture){.now = SPAN_SEC(1000)};
    current = &f;
    *state = &f;
    return condition_patches_new(&options, &f.patches);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->patch = condition_patch_free(f->patch);
    condition_patches_free(f->patches);
    assert_int_equal(f->n_open, 0);
    return 0;
}

static int write_to(struct fixture *f, const char *namespace)
{
    const struct condition_patch_pod pod = {.namespace = namespace, .name = "web-0", .uid = "u-1"};
    const struct condition_known written = {.status = "False",
                                            .reason = "UpdateHeld",
                                            .message = "secret/prod/db@12: an update is held",
                                            .last_transition = "2026-01-01T00:00:00.000Z"};

    return condition_patches_write(f->patches, &source, &pod, &written, f, f->now, &f->patch);
}

static void answer(struct fixture *f, int status)
{
    const struct http_response response = {.status = status, .content_type = ""};

    f->handler->on_response(f->userdata, &response);
    f->handler->on_body(f->userdata, "{}", 2);
    f->handler->on_done(f->userdata, HTTP_COMPLETE, NULL);
}

static void test_request(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    assert_true(f->is_patch);
    assert_string_equal(f->path, "/api/v1/namespaces/prod/pods/web-0/status");
    assert_string_equal(f->body,
                        "{\"metadata\":{\"uid\":\"u-1\"},\"status\":{\"conditions\":[{\"type\":"
                        "\"secretfs.io/SecretsCurrent\",\"status\":\"False\",\"reason\":"
                        "\"UpdateHeld\",\"message\":\"secret/prod/db@12: an update is held\","
                        "\"lastTransitionTime\":\"2026-01-01T00:00:00.000Z\"}]}}");
    answer(f, 200);
    assert_int_equal(f->n_results[CONDITION_PATCH_WRITTEN], 1);
}

static void test_pod_is_gone(void **state)
{
    static const int statuses[] = {404, 409};
    struct fixture *f = *state;

    for (size_t i = 0; i < ELEMENTS_OF(statuses); i++) {
        assert_int_equal(write_to(f, "prod"), 0);
        answer(f, statuses[i]);
        assert_int_equal(f->n_results[CONDITION_PATCH_GONE], i + 1);
    }
    assert_int_equal(write_to(f, "prod"), 0); /* nothing is held against the namespace */
    answer(f, 200);
}

static void test_burst_and_rate(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < CONDITION_PATCHES_BURST; i++) {
        assert_int_equal(write_to(f, "prod"), 0);
        answer(f, 200);
    }
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    f->now += SPAN_SEC(60) / CONDITION_PATCHES_PER_MINUTE;
    assert_int_equal(write_to(f, "prod"), 0);
    answer(f, 200);
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    assert_int_equal(f->n_sent, CONDITION_PATCHES_BURST + 1);
}

/* Of one namespace, for ten minutes. */
static void test_refusal(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    answer(f, 403);
    assert_int_equal(f->n_results[CONDITION_PATCH_FAILED], 1);
    assert_int_equal(write_to(f, "prod"), -EAGAIN);
    assert_int_equal(write_to(f, "test"), 0);
    answer(f, 200);
    f->now += SPAN_SEC(600);
    assert_int_equal(write_to(f, "prod"), 0);
    answer(f, 200);
}

/* Of all namespaces; the wait doubles. */
static void test_failing_server(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    answer(f, 503);
    assert_int_equal(write_to(f, "test"), -EAGAIN);
    f->now += SPAN_SEC(15);
    f->send_result = -EIO;
    assert_int_equal(write_to(f, "test"), -EIO);
    f->send_result = 0;
    f->now += SPAN_SEC(29);
    assert_int_equal(write_to(f, "test"), -EAGAIN);
    f->now += SPAN_SEC(1);
    assert_int_equal(write_to(f, "test"), 0);
    answer(f, 200);
    assert_int_equal(f->n_results[CONDITION_PATCH_WRITTEN], 1);
}

static void test_cancelled(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_to(f, "prod"), 0);
    assert_int_equal(f->n_open, 1);
    f->patch = condition_patch_free(f->patch);
    assert_int_equal(f->n_open, 0);
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
        answer(f, 200);
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
