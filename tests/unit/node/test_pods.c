/* SPDX-License-Identifier: Apache-2.0 */
#include "node/pods.h"

#include "base/buf.h"
#include "fetcher/api/pod.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/node/scripted_api.h"

#define QUERIES_MAX 8
static struct {
    sd_event *event;
    struct node_pods *pods;
    enum node_pods_answer answers[QUERIES_MAX];
    unsigned n_answers;
    struct node_pods_query *frees_on_answer;
} world;

static const struct node_pods_options options = {
    .driver_name = "csi.secretfs.io", .node_name = "node-0", .api = &scripted_api};

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    api_reset();
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(node_pods_new(world.event, &options, &world.pods), 0);
    assert_int_equal(server.n_requests, 1);
    assert_true(server.requests[0].is_watch);
    assert_string_equal(server.requests[0].body, "");
    return 0;
}

static int tear_down(void **state)
{
    assert_null(node_pods_free(world.pods));
    assert_int_equal(server.n_open, 0);
    sd_event_unref(world.event);
    return 0;
}

static struct api_request *wait_request(size_t n)
{
    return api_wait_request(world.event, n);
}

#define POD(uid)                                                                                   \
    "{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"" uid     \
    "\"},\"spec\":{\"volumes\":[{\"name\":\"one\",\"csi\":{\"driver\":\"csi.secretfs.io\"}},"      \
    "{\"name\":\"two\",\"csi\":{\"driver\":\"csi.secretfs.io\"}}],\"containers\":["                \
    "{\"volumeMounts\":[{\"name\":\"two\",\"subPath\":\"a\"}]}]}}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"

/* ---- queries */

static void on_answer(void *userdata, enum node_pods_answer answer, const struct pod *pod)
{
    assert_null(userdata);
    world.answers[world.n_answers++] = answer;
    if (world.frees_on_answer != NULL)
        node_pods_query_free(TAKE(world.frees_on_answer));
}

static enum node_pods_answer ask_for(const char *name, const char *volume,
                                     struct node_pods_query **ret_query)
{
    const struct node_pods_volume which = {
        .namespace = "prod", .pod = name, .pod_uid = "u1", .volume = volume};

    return node_pods_ask(world.pods, &which, on_answer, NULL, ret_query);
}

static struct node_pods_query *ask_later(const char *volume)
{
    struct node_pods_query *query = NULL;

    assert_int_equal(ask_for("web-0", volume, &query), NODE_PODS_LATER);
    return query;
}

static void expect_answers(enum node_pods_answer first, enum node_pods_answer second)
{
    assert_int_equal(world.n_answers, 2);
    assert_int_equal(world.answers[0], first);
    assert_int_equal(world.answers[1], second);
}

static void test_known_pod(void **state)
{
    struct node_pods_query *query = NULL;

    api_respond(&server.requests[0], 200);
    assert_string_equal(node_pods_problem(world.pods), "");
    api_add_body(&server.requests[0], EVENT("ADDED", POD("u1")));
    assert_int_equal(node_pods_count(world.pods), 1);
    assert_int_equal(ask_for("web-0", "one", &query), NODE_PODS_NO_SUB_PATH);
    assert_int_equal(ask_for("web-0", "two", &query), NODE_PODS_SUB_PATH);
    assert_null(query);
    assert_int_equal(server.n_requests, 1);
}

static void test_volumes_of_a_pod_wait_for_one_request(void **state)
{
    ask_later("one");
    ask_later("two");
    assert_int_equal(server.n_requests, 2);
    assert_string_equal(api_newest()->path, "/api/v1/namespaces/prod/pods/web-0");
    assert_false(api_newest()->is_watch);
    api_answer(api_newest(), 200, POD("u1"));
    expect_answers(NODE_PODS_NO_SUB_PATH, NODE_PODS_SUB_PATH);
    assert_int_equal(node_pods_count(world.pods),
                     0); /* not kept: no event would report its deletion */
}

static void test_watch_answers_before_the_request(void **state)
{
    api_respond(&server.requests[0], 200);
    ask_later("one");
    ask_later("two");
    api_add_body(&server.requests[0], EVENT("ADDED", POD("u1")));
    expect_answers(NODE_PODS_NO_SUB_PATH, NODE_PODS_SUB_PATH);
    assert_false(api_newest()->is_open);
}

static void test_freed_queries_get_no_answer(void **state)
{
    struct node_pods_query *one, *two;

    one = ask_later("one");
    two = ask_later("two");
    assert_null(node_pods_query_free(one));
    assert_true(api_newest()->is_open);
    assert_null(node_pods_query_free(two));
    assert_false(api_newest()->is_open);
    assert_null(node_pods_query_free(NULL));
    /* one is freed while the other is answered */
    ask_later("one");
    world.frees_on_answer = ask_later("two");
    api_answer(api_newest(), 200, POD("u1"));
    assert_int_equal(world.n_answers, 1);
}

/* ---- answers without the pod */

static void expect_unknown(int status, const char *text)
{
    ask_later("two");
    api_answer(api_newest(), status, text);
    assert_int_equal(world.n_answers, 1);
    assert_int_equal(world.answers[0], NODE_PODS_UNKNOWN);
}

static void test_pod_not_found(void **state)
{
    expect_unknown(404, "{}");
}

static void test_pod_of_another_uid(void **state)
{
    expect_unknown(200, POD("u2"));
}

static void test_answer_is_not_a_pod(void **state)
{
    expect_unknown(200, "<html>");
}

static void test_answer_is_too_long(void **state)
{
    char piece[8192];

    memset(piece, ' ', sizeof(piece) - 1);
    piece[sizeof(piece) - 1] = '\0';
    ask_later("two");
    api_respond(api_newest(), 200);
    for (size_t len = 0; len <= POD_JSON_MAX_BYTES; len += sizeof(piece) - 1)
        api_add_body(api_newest(), piece);
    api_end(api_newest(), HTTP_COMPLETE);
    assert_int_equal(world.n_answers, 1);
    assert_int_equal(world.answers[0], NODE_PODS_UNKNOWN);
    assert_false(api_newest()->is_open);
}

/* ---- failures */

static void test_server_is_away(void **state)
{
    ask_later("two");
    api_end(api_newest(), HTTP_REFUSED);
    api_answer(wait_request(3), 503, "");
    api_answer(wait_request(4), 200, POD("u1"));
    assert_int_equal(world.n_answers, 1);
    assert_int_equal(world.answers[0], NODE_PODS_SUB_PATH);
}

static void test_expedite(void **state)
{
    struct node_pods_query *query = ask_later("two");

    node_pods_query_expedite(query); /* already in flight */
    assert_int_equal(server.n_requests, 2);
    api_end(api_newest(), HTTP_REFUSED);
    assert_int_equal(server.n_requests, 2);
    node_pods_query_expedite(query);
    assert_int_equal(server.n_requests, 3);
    api_answer(api_newest(), 200, POD("u1"));
    assert_int_equal(world.answers[0], NODE_PODS_SUB_PATH);
    node_pods_query_expedite(NULL);
}

static void test_request_cannot_be_sent(void **state)
{
    server.send_result = -EAGAIN;
    ask_later("two");
    server.send_result = 0;
    api_answer(wait_request(2), 200, POD("u1"));
    assert_int_equal(world.answers[0], NODE_PODS_SUB_PATH);
}

/* K3: a GET is retried while the watch works. */
static void test_authorizer_is_late(void **state)
{
    api_respond(&server.requests[0], 200);
    ask_later("two");
    api_answer(api_newest(), 403, "{}");
    api_answer(wait_request(3), 403, "{}");
    api_answer(wait_request(4), 200, POD("u1"));
    assert_int_equal(world.answers[0], NODE_PODS_SUB_PATH);
}

static void test_new_credentials_for_a_request(void **state)
{
    api_respond(&server.requests[0], 200);
    ask_later("two");
    api_answer(api_newest(), 401, "{}");
    assert_int_equal(server.n_rejected, 1);
    api_answer(wait_request(3), 200, POD("u1"));
    assert_int_equal(world.answers[0], NODE_PODS_SUB_PATH);
}

/* While the watch works, the refusal of one pod does not concern others. */
static void test_one_pod_is_forbidden(void **state)
{
    struct node_pods_query *query = NULL;

    api_respond(&server.requests[0], 200);
    ask_later("two");
    for (size_t n = 2; n <= 5; n++)
        api_answer(wait_request(n), 403, "{}");
    assert_int_equal(world.n_answers, 0);
    api_answer(wait_request(6), 403, "{}");
    assert_int_equal(world.n_answers, 1);
    assert_int_equal(world.answers[0], NODE_PODS_UNKNOWN);
    assert_int_equal(ask_for("web-1", "two", &query), NODE_PODS_LATER);
    node_pods_query_free(query);
}

static void test_forbidden(void **state)
{
    struct node_pods_query *query = NULL;

    api_answer(&server.requests[0], 403, "{\"message\":\"pods is forbidden\"}");
    assert_non_null(strstr(node_pods_problem(world.pods), "pods is forbidden: allow"));
    ask_later("two");
    api_answer(api_newest(), 403, "{}");
    assert_int_equal(world.n_answers, 1);
    assert_int_equal(world.answers[0], NODE_PODS_UNKNOWN);
    assert_int_equal(ask_for("web-0", "two", &query), NODE_PODS_UNKNOWN);
    assert_null(query);
    assert_int_equal(server.n_requests, 2);
    /* until the watch works again */
    api_respond(wait_request(3), 200);
    assert_string_equal(node_pods_problem(world.pods), "");
    assert_int_equal(ask_for("web-0", "two", &query), NODE_PODS_LATER);
    node_pods_query_free(query);
}

static void test_credentials_are_refused(void **state)
{
    api_answer(&server.requests[0], 401, "{}");
    assert_int_equal(server.n_rejected, 1);
}

static void test_no_api_server(void **state)
{
    struct node_pods_query *query = NULL;
    struct node_pods *pods = NULL, *own = world.pods;

    scripted_api.source = NULL;
    server.open_result = -EOPNOTSUPP;
    assert_int_equal(node_pods_new(world.event, &options, &pods), 0);
    world.pods = pods;
    assert_string_equal(node_pods_problem(pods), "there is no API server here");
    assert_false(node_pods_are_readable(pods));
    assert_int_equal(ask_for("web-0", "two", &query), NODE_PODS_UNKNOWN);
    assert_int_equal(server.n_requests, 1);
    node_pods_free(pods);
    world.pods = own;
}

/* ---- limits */

static void test_requests_in_flight_are_limited(void **state)
{
    struct node_pods_query *queries[NODE_PODS_REQUESTS_MAX + 3];
    char name[16];

    for (size_t i = 0; i < ELEMENTS_OF(queries); i++) {
        snprintf(name, sizeof(name), "web-%zu", i);
        assert_int_equal(ask_for(name, "two", &queries[i]), NODE_PODS_LATER);
    }
    assert_int_equal(server.n_requests, 1 + NODE_PODS_REQUESTS_MAX);
    api_answer(&server.requests[1], 404, "{}");
    assert_int_equal(server.n_requests, 1 + NODE_PODS_REQUESTS_MAX + 1);
    /* a lookup that waits for a retry is not in flight */
    api_end(&server.requests[2], HTTP_FAILED);
    assert_int_equal(server.n_requests, 1 + NODE_PODS_REQUESTS_MAX + 2);
    for (size_t i = 1; i < ELEMENTS_OF(queries); i++)
        node_pods_query_free(queries[i]);
    assert_int_equal(server.n_open, 1);
}

static void test_lookups_are_limited(void **state)
{
    static struct node_pods_query *queries[NODE_PODS_LOOKUPS_MAX];
    struct node_pods_query *query = NULL;
    char name[16];

    for (size_t i = 0; i < ELEMENTS_OF(queries); i++) {
        snprintf(name, sizeof(name), "web-%zu", i);
        assert_int_equal(ask_for(name, "two", &queries[i]), NODE_PODS_LATER);
    }
    assert_int_equal(ask_for("one-more", "two", &query), NODE_PODS_UNKNOWN);
    assert_int_equal(ask_for("web-0", "one", &query), NODE_PODS_LATER);
    node_pods_query_free(query);
    for (size_t i = ELEMENTS_OF(queries); i > 0; i--)
        node_pods_query_free(queries[i - 1]);
}

/* ---- names */

static void test_volume_names(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/creds",
        "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/creds/mount/x",
        "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi//mount",
        "/var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/creds/mount",
        ("/volumes/kubernetes.io~csi/"
         "a23456789-123456789-123456789-123456789-123456789-123456789-1234/mount"),
    };
    char name[NODE_PODS_VOLUME_NAME_SIZE];

    assert_true(node_pods_volume_name(
        "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/creds/mount", name));
    assert_string_equal(name, "creds");
    assert_true(node_pods_volume_name(
        "/odd/volumes/kubernetes.io~csi/x/pods/u/volumes/kubernetes.io~csi/b/mount", name));
    assert_string_equal(name, "b");
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (node_pods_volume_name(bad[i], name))
            fail_msg("%s", bad[i]);
}

/* ---- memory */

static int attempt(void *userdata)
{
    struct node_pods_query *query = NULL;
    struct node_pods *pods = NULL, *own = world.pods;
    int r = node_pods_new(world.event, &options, &pods);

    if (r == 0) {
        world.pods = pods;
        /* without memory the answer is unknown */
        ask_for("web-0", "two", &query);
        node_pods_query_free(query);
        node_pods_free(pods);
        world.pods = own;
    }
    server.n_requests = 1;
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(attempt, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_known_pod),
        TEST(test_volumes_of_a_pod_wait_for_one_request),
        TEST(test_watch_answers_before_the_request),
        TEST(test_freed_queries_get_no_answer),
        TEST(test_pod_not_found),
        TEST(test_pod_of_another_uid),
        TEST(test_answer_is_not_a_pod),
        TEST(test_answer_is_too_long),
        TEST(test_server_is_away),
        TEST(test_expedite),
        TEST(test_request_cannot_be_sent),
        TEST(test_authorizer_is_late),
        TEST(test_new_credentials_for_a_request),
        TEST(test_one_pod_is_forbidden),
        TEST(test_forbidden),
        TEST(test_credentials_are_refused),
        TEST(test_no_api_server),
        TEST(test_requests_in_flight_are_limited),
        TEST(test_lookups_are_limited),
        TEST(test_volume_names),
        TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
