/* SPDX-License-Identifier: Apache-2.0 */
/* With pod_tokens.c, pod_certificates.c and allocatable.c, which no other object uses. */
#include "node/pod_source.h"

#include "base/openssl.h"
#include "encoding/json.h"
#include "fetcher/certificate_key.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/node/scripted_api.h"

static struct {
    sd_event *event;
    struct node_pods *pods;
    struct allocatable *allocatable;
    struct pod_source *source;
    struct store_subscription *subscription;
    unsigned n_changed;
} world;

static void on_pod_changed(void *userdata, const struct pod *pod)
{
    if (world.source != NULL)
        pod_source_on_pod(world.source, pod);
}

static void on_node_changed(void *userdata)
{
    pod_source_on_node(world.source);
}

static const struct node_pods_options pods_options = {.driver_name = "csi.secretfs.io",
                                                      .node_name = "node-0",
                                                      .api = &scripted_api,
                                                      .changed = on_pod_changed};
static const struct allocatable_options node_options = {
    .node_name = "node-0", .api = &scripted_api, .changed = on_node_changed};

static int new_source(struct pod_source **ret_source)
{
    const struct pod_source_options options = {.node_name = "node-0",
                                               .pods = world.pods,
                                               .allocatable = world.allocatable,
                                               .api = &scripted_api};

    return pod_source_new(world.event, &options, ret_source);
}

static int set_up(void **state)
{
    memset(&world, 0, sizeof(world));
    api_reset();
    assert_true(sd_event_new(&world.event) >= 0);
    assert_int_equal(node_pods_new(world.event, &pods_options, &world.pods), 0);
    assert_int_equal(allocatable_new(world.event, &node_options, &world.allocatable), 0);
    assert_int_equal(new_source(&world.source), 0);
    assert_int_equal(server.n_requests, 1);
    return 0;
}

static int tear_down(void **state)
{
    store_unsubscribe(world.subscription);
    world.source = pod_source_free(world.source);
    allocatable_free(world.allocatable);
    node_pods_free(world.pods);
    assert_int_equal(server.n_open, 0);
    sd_event_unref(world.event);
    return 0;
}

static struct api_request *wait_request(size_t n)
{
    return api_wait_request(world.event, n);
}

static void on_store_changed(void *userdata, const struct store_view *view)
{
    world.n_changed++;
}

static const struct store_view *subscribe(enum object_kind kind, const char *name,
                                          const char *detail)
{
    const struct object_key key = {kind, "prod", name, detail};
    struct error e = ERROR_INIT;

    assert_int_equal(store_subscribe(pod_source_store(world.source), &key, on_store_changed, NULL,
                                     &world.subscription, &e),
                     0);
    return store_peek(world.subscription);
}

static void check_value(const struct store_view *view, const char *key, const char *expected)
{
    const struct object_entry *entry;

    assert_int_equal(view->presence, STORE_PRESENT);
    entry = object_find(view->object, key);
    assert_non_null(entry);
    assert_int_equal(entry->len, strlen(expected));
    assert_memory_equal(entry->bytes, expected, entry->len);
}

/* ---- fields */

#define POD(label)                                                                                 \
    "{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"u-1\","   \
    "\"resourceVersion\":\"7\",\"labels\":{\"app\":\"" label "\"}},\"spec\":{\"volumes\":[{"       \
    "\"name\":\"one\",\"csi\":{\"driver\":\"csi.secretfs.io\",\"volumeAttributes\":{"              \
    "\"podVolume\":\"own\"}}},{\"name\":\"own\",\"downwardAPI\":{}}],\"containers\":[{"            \
    "\"name\":\"main\"}]}}"
#define ADDED(label)    "{\"type\":\"ADDED\",\"object\":" POD(label) "}\n"
#define MODIFIED(label) "{\"type\":\"MODIFIED\",\"object\":" POD(label) "}\n"
#define APP             "metadata.labels['app']"

static void test_label_follows(void **state)
{
    const struct store_view *view;

    api_begin(&server.requests[0], 200, ADDED("web"));
    view = subscribe(OBJECT_DOWNWARD_API, "web-0", "u-1\n" APP);
    check_value(view, APP, "web");
    assert_string_equal(view->object->resource_version, "7");
    assert_int_equal(view->source_state, STORE_SOURCE_LIVE);
    world.n_changed = 0;
    api_begin(&server.requests[0], 200, MODIFIED("web"));
    assert_int_equal(world.n_changed, 0);
    api_begin(&server.requests[0], 200, MODIFIED("next"));
    check_value(view, APP, "next");
    assert_int_equal(world.n_changed, 1);
    assert_int_equal(server.n_requests, 1);
}

static void test_unknown_pod_is_requested(void **state)
{
    const struct store_view *view = subscribe(OBJECT_DOWNWARD_API, "web-0", "u-1\n" APP);

    assert_int_equal(view->presence, STORE_UNKNOWN);
    assert_string_equal(api_newest()->path, "/api/v1/namespaces/prod/pods/web-0");
    api_answer(api_newest(), 200, POD("web"));
    check_value(view, APP, "web");
}

static void test_pod_of_another_uid(void **state)
{
    const struct store_view *view = subscribe(OBJECT_DOWNWARD_API, "web-0", "u-2\n" APP);

    api_answer(api_newest(), 200, POD("web"));
    api_begin(&server.requests[0], 200, ADDED("web"));
    assert_int_equal(view->presence, STORE_UNKNOWN);
    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
    assert_non_null(strstr(kept_error_text(&view->source_error), "cannot read the pod"));
}

/* Y6 */
static void test_resource_of_the_node(void **state)
{
    const struct store_view *view;

    api_begin(&server.requests[0], 200, ADDED("web"));
    view = subscribe(OBJECT_DOWNWARD_API, "web-0", "u-1\nlimits.cpu main 1m");
    assert_int_equal(view->presence, STORE_UNKNOWN);
    assert_string_equal(api_newest()->path, "/api/v1/nodes/node-0");
    api_answer(api_newest(), 403, "{\"message\":\"nodes is forbidden\"}");
    assert_non_null(strstr(kept_error_text(&view->source_error), "cannot read the node node-0"));
    assert_non_null(
        strstr(kept_error_text(&view->source_error), "allow this identity to get nodes"));
    api_answer(wait_request(3), 200, "{\"status\":{\"allocatable\":{\"cpu\":\"4\"}}}");
    check_value(view, "limits.cpu main 1m", "4000");
}

static void test_response_that_is_no_node(void **state)
{
    static const char *const bad[] = {"", "{}", "{\"status\":{}}",
                                      "{\"status\":{\"allocatable\":[]}}"};

    for (size_t i = 0; i < ELEMENTS_OF(bad); i++) {
        allocatable_get(world.allocatable);
        api_answer(api_newest(), 200, bad[i]);
        assert_null(allocatable_get(world.allocatable));
        assert_non_null(strstr(allocatable_problem(world.allocatable), "no Node"));
        if (i + 1 < ELEMENTS_OF(bad)) {
            world.allocatable = allocatable_free(world.allocatable);
            assert_int_equal(allocatable_new(world.event, &node_options, &world.allocatable), 0);
        }
    }
}

/* ---- tokens */

#define DETAIL "u-1\nweb-0\n3600\nvault"
#define TOKEN(text)                                                                                \
    "{\"spec\":{\"expirationSeconds\":3600},\"status\":{\"token\":\"" text "\","                   \
    "\"expirationTimestamp\":\"2100-01-02T03:04:05Z\"}}"

static void test_token(void **state)
{
    const struct store_view *view = subscribe(OBJECT_SERVICE_ACCOUNT_TOKEN, "web", DETAIL);

    assert_string_equal(api_newest()->path, "/api/v1/namespaces/prod/serviceaccounts/web/token");
    assert_non_null(strstr(api_newest()->body, "\"audiences\":[\"vault\"]"));
    assert_int_equal(view->presence, STORE_UNKNOWN);
    api_answer(api_newest(), 201, TOKEN("dummy-1"));
    check_value(view, "token", "dummy-1");
    assert_int_equal(view->source_state, STORE_SOURCE_LIVE);
}

/* K3: the node authorizer may be late; a full queue is retried as well. */
static void test_token_is_retried(void **state)
{
    const struct store_view *view = subscribe(OBJECT_SERVICE_ACCOUNT_TOKEN, "web", DETAIL);

    api_answer(api_newest(), 403, "{\"message\":\"no relationship found\"}");
    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
    assert_non_null(
        strstr(kept_error_text(&view->source_error), "cannot get a token of service account web"));
    api_answer(wait_request(3), 201, "{\"status\":{}}");
    assert_non_null(strstr(kept_error_text(&view->source_error), "no token"));
    api_answer(wait_request(4), 201, TOKEN("dummy-2"));
    check_value(view, "token", "dummy-2");
}

static void test_request_that_cannot_be_sent(void **state)
{
    const struct store_view *view;

    server.send_result = -EAGAIN;
    view = subscribe(OBJECT_SERVICE_ACCOUNT_TOKEN, "web", DETAIL);
    assert_non_null(strstr(kept_error_text(&view->source_error), "there is no way"));
    server.send_result = 0;
    api_answer(wait_request(2), 201, TOKEN("dummy-1"));
    check_value(view, "token", "dummy-1");
}

static void test_response_that_is_too_long(void **state)
{
    static char text[70000];
    const struct store_view *view = subscribe(OBJECT_SERVICE_ACCOUNT_TOKEN, "web", DETAIL);

    memset(text, ' ', sizeof(text) - 1);
    api_answer(api_newest(), 201, text);
    assert_int_equal(view->presence, STORE_UNKNOWN);
    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
}

static void test_unwatched_during_a_request(void **state)
{
    subscribe(OBJECT_SERVICE_ACCOUNT_TOKEN, "web", DETAIL);
    assert_int_equal(server.n_open, 2);
    world.subscription = store_unsubscribe(world.subscription);
    assert_int_equal(server.n_open, 1);
}

/* ---- certificates */

#define CERTIFICATE "u-1\nweb-0\nexample.com/a\nED25519\n3600\n{}"
#define ACCOUNT     "{\"metadata\":{\"uid\":\"s-1\"}}"
#define NODE        "{\"metadata\":{\"uid\":\"n-1\"}}"
#define CREATED     "{\"metadata\":{\"name\":\"req-1\"}}"
#define COLLECTION  "/apis/certificates.k8s.io/v1/namespaces/prod/podcertificaterequests"

/* What a signer makes of the request that was created: a certificate of its key. In JSON's form. */
static void sign(const char *body, char ret_pem[static 2048])
{
    cJSON *json = cJSON_Parse(body);
    const char *csr = json_text(json_member(json, "spec"), "stubPKCS10Request");
    EVP_PKEY *signer = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    uint8_t der[1024];
    const uint8_t *at = der;
    X509 *x = X509_new();
    X509_REQ *request;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *to = ret_pem;
    long len;

    assert_non_null(csr);
    len = EVP_DecodeBlock(der, (const uint8_t *)csr, (int)strlen(csr));
    request = d2i_X509_REQ(NULL, &at, len);
    assert_non_null(request);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, X509_REQ_get0_pubkey(request));
    assert_true(X509_sign(x, signer, NULL) > 0);
    assert_int_equal(PEM_write_bio_X509(bio, x), 1);
    len = BIO_get_mem_data(bio, &text);
    for (long i = 0; i < len; i++) {
        if (text[i] == '\n')
            *to++ = '\\';
        *to++ = text[i] == '\n' ? 'n' : text[i];
    }
    *to = '\0';
    BIO_free(bio);
    X509_free(x);
    X509_REQ_free(request);
    EVP_PKEY_free(signer);
    cJSON_Delete(json);
}

/* An event of the watch in which the request is issued. */
static void send_issued(struct api_request *watch, const char *pem)
{
    char event[4096];

    snprintf(event, sizeof(event),
             "{\"type\":\"MODIFIED\",\"object\":{\"status\":{\"conditions\":[{\"type\":"
             "\"Issued\",\"status\":\"True\"}],\"certificateChain\":\"%s\",\"notBefore\":"
             "\"2099-01-01T00:00:00Z\",\"beginRefreshAt\":\"2100-01-01T00:00:00Z\",\"notAfter\":"
             "\"2100-02-01T00:00:00Z\"}}}\n",
             pem);
    api_begin(watch, 200, event);
}

/* From the subscription to the watch. Return: the view; the body of the POST in @ret_body. */
static const struct store_view *subscribe_until_signer(char ret_body[static 4096])
{
    const struct store_view *view = subscribe(OBJECT_POD_CERTIFICATE, "web", CERTIFICATE);

    assert_string_equal(api_newest()->path, "/api/v1/namespaces/prod/serviceaccounts/web");
    api_answer(api_newest(), 200, ACCOUNT);
    assert_string_equal(api_newest()->path, "/api/v1/nodes/node-0");
    api_answer(api_newest(), 200, NODE);
    wait_request(4);
    assert_string_equal(api_newest()->path, COLLECTION);
    snprintf(ret_body, 4096, "%s", api_newest()->body);
    api_answer(api_newest(), 201, CREATED);
    assert_non_null(strstr(api_newest()->path, COLLECTION "?watch=true"));
    assert_int_equal(view->presence, STORE_UNKNOWN);
    return view;
}

static void check_failure(const struct store_view *view, const char *expected)
{
    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
    if (strstr(kept_error_text(&view->source_error), expected) == NULL)
        fail_msg("not in \"%s\": %s", kept_error_text(&view->source_error), expected);
}

static void test_certificate(void **state)
{
    char body[4096], pem[2048];
    const struct store_view *view = subscribe_until_signer(body);

    assert_non_null(strstr(body, "\"serviceAccountUID\":\"s-1\""));
    assert_non_null(strstr(body, "\"nodeUID\":\"n-1\""));
    api_begin(api_newest(), 200, "{\"type\":\"ADDED\",\"object\":" CREATED "}\n");
    assert_int_equal(view->presence, STORE_UNKNOWN);
    sign(body, pem);
    send_issued(api_newest(), pem);
    assert_int_equal(view->presence, STORE_PRESENT);
    assert_int_equal(view->source_state, STORE_SOURCE_LIVE);
    assert_int_equal(view->object->n_entries, 3);
    assert_int_equal(object_find(view->object, "credentialBundle")->len,
                     object_find(view->object, "key")->len +
                         object_find(view->object, "certificateChain")->len);
    assert_int_equal(server.n_open, 1); /* the watch of pods */
}

/* Each step that is refused says what is missing, and begins again. */
static void test_refused_steps(void **state)
{
    const struct store_view *view = subscribe(OBJECT_POD_CERTIFICATE, "web", CERTIFICATE);
    char body[4096];

    api_answer(api_newest(), 403, "{}");
    check_failure(view, "cannot get a certificate of signer example.com/a: cannot read the service "
                        "account: the API server answered 403 (Forbidden): allow this identity to "
                        "get serviceaccounts");
    api_answer(wait_request(3), 200, "{\"metadata\":{}}");
    check_failure(view, "the response has no metadata.uid");
    api_answer(wait_request(4), 200, ACCOUNT);
    api_answer(api_newest(), 403, "{}");
    check_failure(view, "allow this identity to get nodes");
    api_answer(wait_request(6), 200, ACCOUNT);
    api_answer(api_newest(), 200, NODE);
    snprintf(body, sizeof(body), "%s", wait_request(8)->body);
    api_answer(api_newest(), 403, "{\"message\":\"no relationship\"}");
    check_failure(view, "no relationship: allow this identity to create podcertificaterequests");
    api_answer(wait_request(9), 200, ACCOUNT);
    api_answer(api_newest(), 200, NODE);
    assert_string_equal(api_newest()->body, body); /* with the same key */
    api_answer(api_newest(), 404, "404 page not found");
    check_failure(view, "use Kubernetes 1.37");
}

/* The request stays, and the next watch brings it. */
static void test_watch_that_ends(void **state)
{
    char body[4096], pem[2048];
    const struct store_view *view = subscribe_until_signer(body);

    api_answer(api_newest(), 200, "");
    assert_int_equal(view->source_state, STORE_SOURCE_STARTING);
    api_answer(wait_request(6), 403, "{}");
    check_failure(view, "allow this identity to list and watch podcertificaterequests");
    api_begin(wait_request(7), 200, "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n");
    check_failure(view, "the API server ended the watch with 410");
    api_begin(wait_request(8), 200, "{]\n");
    check_failure(view, "cannot get a certificate");
    sign(body, pem);
    send_issued(wait_request(9), pem);
    assert_int_equal(view->presence, STORE_PRESENT);
    assert_int_equal(view->source_state, STORE_SOURCE_LIVE);
}

/* Nothing is requested again soon. */
static void check_given_up(const struct store_view *view, const char *event, const char *expected)
{
    api_begin(api_newest(), 200, event);
    check_failure(view, expected);
    assert_int_equal(view->presence, STORE_UNKNOWN);
    assert_int_equal(server.n_open, 1);
}

static void test_denied(void **state)
{
    char body[4096];

    check_given_up(subscribe_until_signer(body),
                   "{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"req-1\"},"
                   "\"status\":{\"conditions\":[{\"type\":\"Denied\",\"status\":\"True\","
                   "\"reason\":\"Policy\"}]}}}\n",
                   "the signer denied podcertificaterequest req-1: Policy");
}

static void test_deleted(void **state)
{
    char body[4096];

    check_given_up(subscribe_until_signer(body), "{\"type\":\"DELETED\",\"object\":{}}\n",
                   "podcertificaterequest prod/req-1 was deleted before its signer decided");
}

static void test_certificate_of_another_key(void **state)
{
    char body[4096], pem[2048];
    const struct store_view *view = subscribe_until_signer(body);
    cJSON *json = cJSON_Parse(body);
    struct certificate_key *other = NULL;
    atomic_bool is_cancelled = false;
    struct error e = ERROR_INIT;
    char *text;

    assert_int_equal(certificate_key_new("ED25519", &is_cancelled, &other, &e), 0);
    cJSON_ReplaceItemInObject(cJSON_GetObjectItem(json, "spec"), "stubPKCS10Request",
                              cJSON_CreateString(certificate_key_request(other)));
    text = cJSON_PrintUnformatted(json);
    sign(text, pem);
    send_issued(api_newest(), pem);
    check_failure(view, "the certificate was issued for another key");
    assert_int_equal(server.n_open, 1);
    cJSON_free(text);
    cJSON_Delete(json);
    certificate_key_free(other);
}

/* In each step. */
static void test_unwatched_certificate(void **state)
{
    char body[4096];

    subscribe(OBJECT_POD_CERTIFICATE, "web", CERTIFICATE);
    api_answer(api_newest(), 200, ACCOUNT);
    api_answer(api_newest(), 200, NODE); /* the key is being made */
    world.subscription = store_unsubscribe(world.subscription);
    assert_int_equal(server.n_open, 1);
    server.n_requests = 1;
    subscribe_until_signer(body);
    world.subscription = store_unsubscribe(world.subscription);
    assert_int_equal(server.n_open, 1);
}

/* ---- memory */

static int attempt(void *userdata)
{
    struct pod_source *source = NULL;
    int r = new_source(&source);

    pod_source_free(source);
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
        TEST(test_label_follows),
        TEST(test_unknown_pod_is_requested),
        TEST(test_pod_of_another_uid),
        TEST(test_resource_of_the_node),
        TEST(test_response_that_is_no_node),
        TEST(test_token),
        TEST(test_token_is_retried),
        TEST(test_request_that_cannot_be_sent),
        TEST(test_response_that_is_too_long),
        TEST(test_unwatched_during_a_request),
        TEST(test_certificate),
        TEST(test_refused_steps),
        TEST(test_watch_that_ends),
        TEST(test_denied),
        TEST(test_deleted),
        TEST(test_certificate_of_another_key),
        TEST(test_unwatched_certificate),
        TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
