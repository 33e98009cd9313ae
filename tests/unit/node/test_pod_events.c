/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pod_events.h"

#include "base/log.h"
#include "encoding/json.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/node/scripted_api.h"

struct fixture {
    struct pod_events *events;
    mono_us now;
    cJSON *body; /* of a request */
    size_t n_results[POD_EVENT_RESULTS];
};
static struct source source, other_source;

static void on_done(void *userdata, const struct pod_event_outcome *outcome)
{
    struct fixture *f = userdata;

    assert_int_equal(outcome->owner, 12);
    assert_int_equal(outcome->tag, 34);
    f->n_results[outcome->result]++;
}

static void set_up(struct fixture *f)
{
    const struct pod_events_options options = {.component = "csi.secretfs.io",
                                               .node_id = "node-1",
                                               .calls = &api_calls,
                                               .done = on_done,
                                               .userdata = f};

    *f = (struct fixture){.now = SPAN_SEC(100)};
    api_reset();
    assert_int_equal(pod_events_new(&options, &f->events), 0);
}

static void tear_down(struct fixture *f)
{
    assert_null(pod_events_free(f->events));
    assert_int_equal(server.n_open, 0);
    cJSON_Delete(f->body);
}

/* Of a request. Return: borrowed until the next call. */
static const cJSON *body_of(struct fixture *f, size_t i)
{
    const char *text = server.requests[i].body;

    cJSON_Delete(f->body);
    assert_int_equal(json_parse(text, strlen(text), &f->body, NULL), 0);
    return f->body;
}

static void post_from(struct fixture *f, struct source *from, const char *pod, const char *reason)
{
    const char *slash = strchr(pod, '/');
    char namespace[64];
    const struct pod_event event = {.namespace = namespace,
                                    .pod = slash != NULL ? slash + 1 : pod,
                                    .pod_uid = "11111111-2222",
                                    .reason = reason,
                                    .message = "the content is \"old\"",
                                    .is_warning = true,
                                    .owner = 12,
                                    .tag = 34};
    int r;

    snprintf(namespace, sizeof(namespace), "%.*s", slash != NULL ? (int)(slash - pod) : 0, pod);
    r = pod_events_post(f->events, from, &event, f->now);
    assert_true(r == 0 || r == -EAGAIN);
    f->n_results[POD_EVENT_DEFERRED] += r < 0;
}

static void post(struct fixture *f, const char *pod, const char *reason)
{
    post_from(f, &source, pod, reason);
}

/* Answer a request. @status: 0: the connection is refused */
static void answer_request(size_t i, int status)
{
    if (status == 0)
        api_end(&server.requests[i], HTTP_REFUSED);
    else
        api_answer(&server.requests[i], status, "{}");
}

static void answer(int status)
{
    answer_request(server.n_requests - 1, status);
}

static void assert_results(const struct fixture *f, size_t posted, size_t failed, size_t deferred,
                           size_t dropped)
{
    assert_int_equal(f->n_results[POD_EVENT_POSTED], posted);
    assert_int_equal(f->n_results[POD_EVENT_FAILED], failed);
    assert_int_equal(f->n_results[POD_EVENT_DEFERRED], deferred);
    assert_int_equal(f->n_results[POD_EVENT_DROPPED], dropped);
}

static void test_event_is_posted(void **state)
{
    struct fixture f;
    const cJSON *body;
    struct timespec time;

    set_up(&f);
    post(&f, "prod/web-0", "VolumeHeld");
    assert_int_equal(server.n_requests, 1);
    assert_string_equal(server.requests[0].path, "/api/v1/namespaces/prod/events");
    body = body_of(&f, 0);
    assert_string_equal(json_text(body, "kind"), "Event");
    assert_string_equal(json_text(body, "type"), "Warning");
    assert_string_equal(json_text(body, "reason"), "VolumeHeld");
    assert_string_equal(json_text(body, "message"), "the content is \"old\"");
    assert_string_equal(json_text(json_member(body, "metadata"), "namespace"), "prod");
    assert_int_equal(strlen(json_text(json_member(body, "metadata"), "name")), 6 + 16);
    assert_non_null(str_after(json_text(json_member(body, "metadata"), "name"), "web-0."));
    assert_string_equal(json_text(json_member(body, "involvedObject"), "name"), "web-0");
    assert_string_equal(json_text(json_member(body, "involvedObject"), "uid"), "11111111-2222");
    assert_string_equal(json_text(json_member(body, "source"), "host"), "node-1");
    assert_int_equal(clock_parse_rfc3339(json_text(body, "firstTimestamp"), &time), 0);
    assert_true(json_member(body, "count")->valuedouble == 1);
    answer(201);
    assert_results(&f, 1, 0, 0, 0);
    tear_down(&f);
}

static void test_equal_events_are_dropped(void **state)
{
    struct fixture f;

    set_up(&f);
    post(&f, "prod/web-0", "VolumeHeld");
    answer(201);
    post(&f, "prod/web-0", "VolumeHeld");
    post(&f, "prod/web-0", "VolumeHeld");
    assert_results(&f, 1, 0, 0, 2);
    /* another pod, or another event of this one */
    post(&f, "prod/web-1", "VolumeHeld");
    answer(201);
    post(&f, "prod/web-0", "VolumeCurrent");
    answer(201);
    f.now += POD_EVENTS_QUIET;
    post(&f, "prod/web-0", "VolumeHeld");
    answer(201);
    assert_results(&f, 4, 0, 0, 2);
    assert_true(json_member(body_of(&f, 3), "count")->valuedouble == 4);
    tear_down(&f);
}

static void test_burst_is_limited(void **state)
{
    struct fixture f;
    char pod[32];

    set_up(&f);
    for (unsigned i = 0; i < POD_EVENTS_PER_MINUTE + 5; i++) {
        snprintf(pod, sizeof(pod), "prod/web-%u", i);
        post(&f, pod, "VolumeHeld");
        if (i < POD_EVENTS_PER_MINUTE)
            answer(201);
    }
    assert_results(&f, POD_EVENTS_PER_MINUTE, 0, 5, 0);
    /* one more every two seconds; a deferred event may be posted */
    f.now += SPAN_SEC(2);
    post(&f, "prod/web-33", "VolumeHeld");
    answer(201);
    post(&f, "prod/web-34", "VolumeHeld");
    assert_results(&f, POD_EVENTS_PER_MINUTE + 1, 0, 6, 0);
    tear_down(&f);
}

static void test_requests_in_flight_are_limited(void **state)
{
    struct fixture f;
    char pod[32];

    set_up(&f);
    for (unsigned i = 0; i < POD_EVENTS_POSTING + 2; i++) {
        snprintf(pod, sizeof(pod), "prod/web-%u", i);
        post(&f, pod, "VolumeHeld");
    }
    assert_int_equal(server.n_open, POD_EVENTS_POSTING);
    assert_results(&f, 0, 0, 2, 0);
    pod_events_forget(f.events, &other_source);
    assert_int_equal(server.n_open, POD_EVENTS_POSTING);
    answer(201);
    pod_events_forget(f.events, &source);
    assert_int_equal(server.n_open, 0);
    assert_results(&f, 1, 0, 2, POD_EVENTS_POSTING - 1);
    post(&f, "prod/web-99", "VolumeHeld"); /* cancelled with the others */
    tear_down(&f);
}

/* Deferred events do not replace posted ones. */
static void test_posted_events_are_remembered_longest(void **state)
{
    struct fixture f;
    char pod[32];

    set_up(&f);
    post(&f, "prod/first", "VolumeHeld");
    answer(201);
    for (unsigned i = 0; i < 2 * POD_EVENTS_KNOWN; i++) {
        snprintf(pod, sizeof(pod), "prod/web-%u", i);
        post(&f, pod, "VolumeHeld");
        if (server.n_open > 0)
            answer(201);
    }
    assert_results(&f, POD_EVENTS_PER_MINUTE, 0, 2 * POD_EVENTS_KNOWN + 1 - POD_EVENTS_PER_MINUTE,
                   0);
    f.now += SPAN_SEC(60);
    post(&f, "prod/first", "VolumeHeld");
    assert_int_equal(server.n_open, 0);
    post(&f, "prod/web-400", "VolumeHeld");
    assert_int_equal(server.n_open, 1);
    tear_down(&f);
}

/* A quota of the namespace, or its deletion, is a matter of that namespace. */
static void test_namespace_that_refuses_is_left_alone(void **state)
{
    struct fixture f;

    set_up(&f);
    post(&f, "gone/web-0", "VolumeHeld");
    answer(403);
    post(&f, "gone/web-1", "VolumeHeld");
    assert_int_equal(server.n_requests, 1);
    assert_results(&f, 0, 1, 1, 0);
    post(&f, "prod/web-0", "VolumeHeld");
    answer(201);
    post_from(&f, &other_source, "gone/web-1", "VolumeHeld"); /* which may be allowed to */
    answer(201);
    assert_results(&f, 2, 1, 1, 0);
    f.now += SPAN_SEC(600);
    post(&f, "gone/web-0", "VolumeHeld"); /* no equal one was posted */
    answer(201);
    assert_results(&f, 3, 1, 1, 0);
    tear_down(&f);
}

/* 64 are remembered; of more, those that refused last. */
static void test_many_namespaces_that_refuse(void **state)
{
    struct fixture f;
    char pod[32];

    set_up(&f);
    for (unsigned i = 0; i < 70; i++) {
        snprintf(pod, sizeof(pod), "gone-%u/web", i);
        post(&f, pod, "VolumeHeld");
        answer(422);
        f.now += SPAN_SEC(3);
    }
    assert_results(&f, 0, 70, 0, 0);
    post(&f, "gone-69/web", "VolumeHeld");
    post(&f, "gone-6/web", "VolumeHeld");
    assert_results(&f, 0, 70, 2, 0);
    post(&f, "gone-5/web", "VolumeHeld");
    answer(201);
    assert_results(&f, 1, 70, 2, 0);
    tear_down(&f);
}

static void fail_and_wait(struct fixture *f, int status, span_us quiet)
{
    size_t n = server.n_requests;

    post(f, "prod/web-0", "VolumeHeld");
    assert_int_equal(server.n_requests, n + 1);
    answer(status);
    f->now += quiet - 1;
    post(f, "test/web-1", "VolumeHeld");
    assert_int_equal(server.n_requests, n + 1);
    f->now += 1;
}

static void test_server_that_fails_is_left_alone_for_longer_each_time(void **state)
{
    static const unsigned quiet[] = {15, 30, 60, 120, 240, 240};
    static const int status[] = {500, 0, 503, 429, 408, 504};
    struct fixture f;

    set_up(&f);
    for (size_t i = 0; i < ELEMENTS_OF(quiet); i++)
        fail_and_wait(&f, status[i], SPAN_SEC(quiet[i]));
    post(&f, "prod/web-0", "VolumeHeld");
    answer(201);
    assert_results(&f, 1, 6, 6, 0);
    f.now += POD_EVENTS_QUIET;
    fail_and_wait(&f, 500, SPAN_SEC(15)); /* the first one again */
    tear_down(&f);
}

/* They are one failure. */
static void test_failures_of_requests_in_flight(void **state)
{
    struct fixture f;

    set_up(&f);
    post(&f, "prod/web-0", "VolumeHeld");
    post(&f, "prod/web-1", "VolumeHeld");
    answer_request(0, 500);
    answer_request(1, 500);
    f.now += SPAN_SEC(15);
    post(&f, "prod/web-0", "VolumeHeld");
    answer(201);
    assert_results(&f, 1, 2, 0, 0);
    tear_down(&f);
}

static void test_request_that_cannot_be_sent(void **state)
{
    struct fixture f;

    set_up(&f);
    server.send_result = -EAGAIN;
    post(&f, "prod/web-4", "VolumeHeld");
    post(&f, "prod/web-4", "VolumeHeld");
    assert_results(&f, 0, 1, 1, 0);
    server.send_result = 0;
    f.now += SPAN_SEC(15);
    post(&f, "prod/web-4", "VolumeHeld");
    answer(201);
    assert_results(&f, 1, 1, 1, 0);
    tear_down(&f);
}

static void test_unusual_names(void **state)
{
    char pod[300] = "prod/";
    struct fixture f;
    const char *name;

    set_up(&f);
    post(&f, "no-namespace", "VolumeHeld");
    post(&f, "/web", "VolumeHeld");
    assert_results(&f, 0, 2, 0, 0);
    f.now += SPAN_SEC(15);
    memset(pod + 5, 'x', 253);
    pod[5 + 199] = '-'; /* the name is cut there */
    pod[5 + 253] = '\0';
    post(&f, pod, "VolumeHeld");
    name = json_text(json_member(body_of(&f, 0), "metadata"), "name");
    assert_int_equal(strlen(name), 199 + 1 + 16);
    assert_string_equal(json_text(json_member(body_of(&f, 0), "involvedObject"), "name"), pod + 5);
    tear_down(&f);
}

static int try_posting(void *userdata)
{
    struct fixture f = {0};
    const struct pod_events_options options = {
        .component = "c", .node_id = "n", .calls = &api_calls, .done = on_done, .userdata = &f};
    int r;

    api_reset();
    server.send_result = -EAGAIN;
    r = pod_events_new(&options, &f.events);
    if (r < 0)
        return r;
    post(&f, "prod/web-0", "VolumeHeld");
    pod_events_free(f.events);
    return 0;
}

static void test_no_memory(void **state)
{
    failmalloc_try(try_posting, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_is_posted),
        cmocka_unit_test(test_equal_events_are_dropped),
        cmocka_unit_test(test_burst_is_limited),
        cmocka_unit_test(test_requests_in_flight_are_limited),
        cmocka_unit_test(test_posted_events_are_remembered_longest),
        cmocka_unit_test(test_namespace_that_refuses_is_left_alone),
        cmocka_unit_test(test_many_namespaces_that_refuse),
        cmocka_unit_test(test_server_that_fails_is_left_alone_for_longer_each_time),
        cmocka_unit_test(test_failures_of_requests_in_flight),
        cmocka_unit_test(test_request_that_cannot_be_sent),
        cmocka_unit_test(test_unusual_names),
        cmocka_unit_test(test_no_memory),
    };

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
