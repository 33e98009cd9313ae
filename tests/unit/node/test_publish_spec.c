/* SPDX-License-Identifier: Apache-2.0 */
#include "node/publish_spec.h"

#include "tests/unit/node/scripted_api.h"

#define OLD "6.1.0-18-amd64"

static struct {
    sd_event *event;
    struct node_pods *pods;
    int result; /* of the last query */
    unsigned n_done;
    struct volume_spec *spec;
    struct error error;
} world;

static int set_up(void **state)
{
    static const struct node_pods_options options = {
        .driver_name = "csi.secretfs.io", .node_name = "node-0", .api = &scripted_api};

    memset(&world, 0, sizeof(world));
    api_reset();
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(node_pods_new(world.event, &options, &world.pods), 0);
    assert_int_equal(server.n_requests, 1);
    return 0;
}

static int tear_down(void **state)
{
    volume_spec_free(world.spec);
    node_pods_free(world.pods);
    sd_event_unref(world.event);
    return 0;
}

/* ---- a publish request */

static const struct volume_attribute secret[] = {{"secretName", "db"}};
static const struct csi_publish publish = {
    .target_path = "/var/lib/kubelet/pods/u-1/volumes/kubernetes.io~csi/creds/mount",
    .pod_name = "web-0",
    .pod_namespace = "prod",
    .pod_uid = "u-1",
    .mount_group = CSI_GROUP_UNSET,
    .attributes = secret,
    .n_attributes = 1,
};

#define POD(spec)                                                                                  \
    "{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"u-1\"},"  \
    "\"spec\":{" spec "\"volumes\":[{\"name\":\"creds\",\"csi\":{\"driver\":"                      \
    "\"csi.secretfs.io\"}}],\"containers\":[{\"name\":\"main\"}]}}"
#define ADDED(spec) "{\"type\":\"ADDED\",\"object\":" POD(spec) "}\n"
#define ISOLATED    "\"hostUsers\":false,"

static void on_done(void *userdata, int r, struct volume_spec *spec_consumed, const struct error *e)
{
    world.n_done++;
    world.result = r;
    world.spec = spec_consumed;
    world.error = *e;
}

static int get(const char *old_kernel, struct publish_spec **ret_query)
{
    static struct publish_spec_context context;

    context = (struct publish_spec_context){
        .event = world.event, .pods = world.pods, .old_kernel = old_kernel};
    return publish_spec_get(&context, &publish, on_done, NULL, &world.spec, ret_query,
                            &world.error);
}

static void check_refused(int r)
{
    assert_int_equal(r, -EOPNOTSUPP);
    assert_null(world.spec);
    assert_string_equal(world.error.text,
                        "a pod with hostUsers: false cannot have volumes of secretfs on this node: "
                        "Linux " OLD " has no FUSE_ALLOW_IDMAP; use Linux 6.12 or later, or remove "
                        "hostUsers: false");
}

/* X7 */
static void test_known_pod(void **state)
{
    static const struct {
        const char *event, *old_kernel;
        bool is_refused;
    } cases[] = {
        {ADDED(ISOLATED), OLD, true},
        {ADDED(ISOLATED), NULL, false},
        {ADDED(""), OLD, false},
        {ADDED("\"hostUsers\":true,"), OLD, false},
        {ADDED("\"hostUsers\":null,"), OLD, false},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct publish_spec *query = NULL;
        int r;

        world.spec = volume_spec_free(world.spec);
        api_begin(&server.requests[0], 200, cases[i].event);
        r = get(cases[i].old_kernel, &query);
        if (cases[i].is_refused)
            check_refused(r);
        else
            assert_int_equal(r, 0);
    }
    assert_int_equal(server.n_requests, 1);
}

/* Without a reason to read it, the pod is not requested. */
static void test_newer_kernel_needs_no_pod(void **state)
{
    struct publish_spec *query = NULL;

    assert_int_equal(get(NULL, &query), 0);
    assert_string_equal(world.spec->sources[0].name, "db");
    assert_int_equal(server.n_requests, 1);
}

static void test_unknown_pod_is_requested(void **state)
{
    struct publish_spec *query = NULL;
    struct api_request *r = &server.requests[1];

    assert_int_equal(get(OLD, &query), PUBLISH_SPEC_LATER);
    assert_string_equal(r->path, "/api/v1/namespaces/prod/pods/web-0");
    api_answer(r, 200, POD(ISOLATED));
    assert_int_equal(world.n_done, 1);
    check_refused(world.result);
}

/* It gets its volume: whether it has a user namespace is not known. */
static void test_pod_that_is_not_found(void **state)
{
    struct publish_spec *query = NULL;
    struct api_request *r = &server.requests[1];

    assert_int_equal(get(OLD, &query), PUBLISH_SPEC_LATER);
    api_answer(r, 404, "{}");
    assert_int_equal(world.result, 0);
    assert_string_equal(world.spec->sources[0].name, "db");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_known_pod),
        TEST(test_newer_kernel_needs_no_pod),
        TEST(test_unknown_pod_is_requested),
        TEST(test_pod_that_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
