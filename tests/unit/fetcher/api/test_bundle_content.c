/* SPDX-License-Identifier: Apache-2.0 */
/* Within a reflector, as its lists and events are what changes it. */
#include "fetcher/api/bundle_content.h"

#include "fetcher/api/reflector.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/fetcher/api/scripted_watch.h"

struct world {
    struct script script;
    struct store *store;
    struct store_subscription *subscription;
    struct reflector *reflector;
    unsigned n_puts;
    struct object *object; /* the last one */
};

static const struct watch_io script_io = SCRIPT_IO;

static int world_watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct world *w = userdata;
    int r = reflector_new(w->store, key, &script_io, &w->script, &w->reflector);

    assert_int_equal(r, 0);
    w->script.watch = reflector_watch(w->reflector);
    watch_start(w->script.watch);
    return 0;
}

static void world_unwatch(void *userdata, const struct object_key *key)
{
    struct world *w = userdata;

    w->reflector = reflector_free(w->reflector);
}

static void world_changed(void *userdata, const struct store_view *view)
{
    struct world *w = userdata;

    w->n_puts += view->presence == STORE_PRESENT && view->object != w->object;
    w->object = view->object;
}

static int world_setup(void **state)
{
    static const struct store_source source = {.watch = world_watch, .unwatch = world_unwatch};
    struct world *w = calloc(1, sizeof(*w));

    assert(w != NULL);
    script_init(&w->script);
    assert_int_equal(store_new(&w->store), 0);
    store_set_source(w->store, &source, w);
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    struct world *w = *state;

    w->subscription = store_unsubscribe(w->subscription);
    script_expect_freed(&w->script);
    store_free(w->store);
    free(w);
    return 0;
}

static void subscribe(struct world *w, const char *name, const char *detail)
{
    const struct object_key key = {OBJECT_CLUSTER_TRUST_BUNDLE, "", name, detail};

    assert_int_equal(store_subscribe(w->store, &key, world_changed, w, &w->subscription, NULL), 0);
}

/* ---- what the API server sends */

#define ONE_DER "-----BEGIN CERTIFICATE-----\\nYQ==\\n-----END CERTIFICATE-----\\n"
#define TWO_DER "-----BEGIN CERTIFICATE-----\\nYg==\\n-----END CERTIFICATE-----\\n"
#define ONE_PEM "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n"
#define TWO_PEM "-----BEGIN CERTIFICATE-----\nYg==\n-----END CERTIFICATE-----\n"
#define BUNDLE(name, version, pem)                                                                 \
    "{\"kind\":\"ClusterTrustBundle\",\"metadata\":{\"name\":\"" name                              \
    "\",\"resourceVersion\":\"" version "\"},\"spec\":{\"trustBundle\":\"" pem "\"}}"
#define LIST(version, items)                                                                       \
    "{\"kind\":\"ClusterTrustBundleList\",\"metadata\":{\"resourceVersion\":\"" version            \
    "\"},\"items\":[" items "]}"
#define PATH "/apis/certificates.k8s.io/"
#define BY_SIGNER                                                                                  \
    "/clustertrustbundles?fieldSelector=spec.signerName%3Dexample.com%2Fa&labelSelector=live%"     \
    "3Dyes"
#define LABELS "labels:live=yes"

static void check(const struct world *w, enum store_presence presence, const char *pem)
{
    const struct store_view *view = store_peek(w->subscription);

    assert_int_equal(view->presence, presence);
    if (presence != STORE_PRESENT)
        return;
    assert_int_equal(view->object->n_entries, 1);
    assert_string_equal(view->object->entries[0].key, BUNDLE_KEY);
    assert_int_equal(view->object->entries[0].len, strlen(pem));
    assert_memory_equal(view->object->entries[0].bytes, pem, strlen(pem));
}

static void check_error(const struct world *w, const char *part)
{
    const struct store_view *view = store_peek(w->subscription);

    assert_int_equal(view->source_state, STORE_SOURCE_FAILING);
    if (strstr(kept_error_text(&view->source_error), part) == NULL)
        fail_msg("\"%s\" does not have \"%s\" in it", kept_error_text(&view->source_error), part);
}

/* A signer's bundles, and the watch of them. */
static void start(struct world *w, const char *list)
{
    subscribe(w, "example.com/a", LABELS);
    assert_string_equal(w->script.path, PATH "v1" BY_SIGNER);
    answer(&w->script, 200, list);
    assert_non_null(strstr(w->script.path, PATH "v1" BY_SIGNER "&watch=true"));
    respond(&w->script, 200, 0);
}

/* ---- tests */

static void test_by_name(void **state)
{
    struct world *w = *state;

    subscribe(w, "example.com:a:one", "");
    assert_string_equal(w->script.path, PATH "v1/clustertrustbundles?fieldSelector="
                                             "metadata.name%3Dexample.com%3Aa%3Aone");
    answer(&w->script, 200, LIST("7", BUNDLE("example.com:a:one", "5", ONE_DER)));
    check(w, STORE_PRESENT, ONE_PEM);
    assert_string_equal(w->object->resource_version, "5");
    respond(&w->script, 200, 0);
    send_body(&w->script, EVENT("ADDED", BUNDLE("another", "8", TWO_DER)));
    check(w, STORE_PRESENT, ONE_PEM);
    send_body(&w->script, EVENT("DELETED", BUNDLE("example.com:a:one", "9", ONE_DER)));
    check(w, STORE_ABSENT, NULL);
}

/* Y16: the certificates of all bundles, sorted; nothing is put that changes none of them */
static void test_by_signer(void **state)
{
    struct world *w = *state;

    start(w, LIST("7", BUNDLE("a", "5", TWO_DER) "," BUNDLE("b", "6", ONE_DER)));
    check(w, STORE_PRESENT, ONE_PEM TWO_PEM);
    send_body(&w->script, EVENT("ADDED", BUNDLE("c", "8", ONE_DER)));
    send_body(&w->script, EVENT("MODIFIED", BUNDLE("c", "9", "text\\n" TWO_DER)));
    send_body(&w->script, EVENT("DELETED", BUNDLE("a", "10", TWO_DER)));
    assert_int_equal(w->n_puts, 1);
    send_body(&w->script, EVENT("DELETED", BUNDLE("b", "11", ONE_DER)));
    check(w, STORE_PRESENT, TWO_PEM);
    send_body(&w->script, EVENT("DELETED", BUNDLE("c", "12", TWO_DER)));
    check(w, STORE_ABSENT, NULL);
    assert_int_equal(w->n_puts, 2);
}

static void test_no_bundle(void **state)
{
    struct world *w = *state;

    start(w, LIST("7", ""));
    check(w, STORE_ABSENT, NULL);
    send_body(&w->script, EVENT("ADDED", BUNDLE("a", "8", ONE_DER)));
    check(w, STORE_PRESENT, ONE_PEM);
}

/* {} selects all of a signer */
static void test_empty_selector(void **state)
{
    struct world *w = *state;

    subscribe(w, "example.com/a", BUNDLE_DETAIL_LABELS);
    assert_string_equal(w->script.path, PATH "v1/clustertrustbundles?fieldSelector="
                                             "spec.signerName%3Dexample.com%2Fa");
}

static void test_invalid_bundle(void **state)
{
    struct world *w = *state;

    start(w, LIST("7", BUNDLE("a", "5", ONE_DER)));
    send_body(&w->script, EVENT("ADDED", BUNDLE("b", "8", "nothing")));
    check(w, STORE_PRESENT, ONE_PEM);
    check_error(w, "clustertrustbundle b: it contains no certificate");
    /* another change does not hide it */
    send_body(&w->script, EVENT("MODIFIED", BUNDLE("a", "9", TWO_DER)));
    check(w, STORE_PRESENT, ONE_PEM);
    check_error(w, "clustertrustbundle b");
    send_body(&w->script, EVENT("DELETED", BUNDLE("b", "10", "nothing")));
    check(w, STORE_PRESENT, TWO_PEM);
    assert_int_equal(store_peek(w->subscription)->source_state, STORE_SOURCE_LIVE);
}

/* Y14: the newest version that is served */
static void test_older_version(void **state)
{
    struct world *w = *state;

    subscribe(w, "example.com/a", LABELS);
    answer(&w->script, 404, "404 page not found");
    assert_string_equal(w->script.path, PATH "v1beta1" BY_SIGNER);
    answer(&w->script, 404, "404 page not found");
    assert_string_equal(w->script.path, PATH "v1alpha1" BY_SIGNER);
    answer(&w->script, 200, LIST("7", BUNDLE("a", "5", ONE_DER)));
    check(w, STORE_PRESENT, ONE_PEM);
    assert_non_null(strstr(w->script.path, PATH "v1alpha1" BY_SIGNER "&watch=true"));
}

static void test_not_served(void **state)
{
    struct world *w = *state;

    subscribe(w, "example.com/a", LABELS);
    for (unsigned i = 0; i < 3; i++)
        answer(&w->script, 404, "404 page not found");
    check(w, STORE_UNKNOWN, NULL);
    check_error(w, "the API server has no ClusterTrustBundles (404 Not Found for "
                   "certificates.k8s.io/v1, v1beta1 and v1alpha1)");
    expect_state(&w->script, "waiting");
    expect_timer(&w->script, SPAN_MS(800));
    assert_string_equal(w->script.path, PATH "v1" BY_SIGNER);
}

static void test_forbidden(void **state)
{
    struct world *w = *state;

    start(w, LIST("7", BUNDLE("a", "5", ONE_DER)));
    send_body(&w->script, EVENT("ERROR", STATUS("410", "too old")));
    expect_timer(&w->script, SPAN_MS(800));
    answer(&w->script, 403, STATUS("403", "no"));
    check_error(w, "allow this identity to get, list and watch clustertrustbundles");
    assert_int_equal(store_peek(w->subscription)->refusal, STORE_FORBIDDEN);
    check(w, STORE_PRESENT, ONE_PEM);
}

/* ---- limits */

static void test_too_many(void **state)
{
    struct world *w = *state;
    char event[512];

    start(w, LIST("7", ""));
    for (unsigned i = 0; i < BUNDLES_MAX + 1; i++) {
        snprintf(event, sizeof(event),
                 "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b-%u\"},\"spec\":{"
                 "\"trustBundle\":\"%s\"}}}\n",
                 i, i == 0 ? ONE_DER : "");
        send_body(&w->script, event);
    }
    check(w, STORE_PRESENT, ONE_PEM);
    check_error(w, "there are more than 4096 bundles");
}

static void test_too_long(void **state)
{
    struct world *w = *state;
    char *event = malloc(OBJECT_DATA_MAX_BYTES + 512), *at;

    assert_non_null(event);
    start(w, LIST("7", BUNDLE("a", "5", ONE_DER)));
    for (unsigned i = 0; i < 4; i++) {
        snprintf(event, 512,
                 "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"b-%u\"},\"spec\":{"
                 "\"trustBundle\":\"%s",
                 i, TWO_DER);
        at = event + strlen(event);
        memset(at, ' ', OBJECT_DATA_MAX_BYTES);
        stpcpy(at + OBJECT_DATA_MAX_BYTES, "\"}}}\n");
        send_body(&w->script, event);
    }
    check(w, STORE_PRESENT, ONE_PEM TWO_PEM);
    check_error(w, "they have more than 4194304 bytes");
    free(event);
}

/* ---- memory; not OpenSSL's, which keeps some */

static int attempt(void *userdata)
{
    static const struct object_key key = {OBJECT_CLUSTER_TRUST_BUNDLE, "", "a", ""};
    struct content *content = NULL;
    struct error e = ERROR_INIT;
    int r = bundle_content_new(userdata, &key, &content);

    if (r < 0)
        return r;
    r = content->ops->replace(content, NULL, 1, &e);
    content->ops->free(content);
    return r;
}

static void test_no_memory(void **state)
{
    const struct world *w = *state;

    failmalloc_try(attempt, w->store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_by_name),        TEST(test_by_signer),      TEST(test_no_bundle),
        TEST(test_empty_selector), TEST(test_invalid_bundle), TEST(test_older_version),
        TEST(test_not_served),     TEST(test_forbidden),      TEST(test_too_many),
        TEST(test_too_long),       TEST(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
