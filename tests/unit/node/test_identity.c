/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "node/identity.h"

#include "tests/unit/failmalloc.h"

#define TOKEN_A                                                                                    \
    "{\"\": {\"token\": \"dummy-a\", \"expirationTimestamp\": \"2100-01-01T00:00:00Z\"}}"
#define TOKEN_B "{\"\": {\"token\": \"dummy-b\"}, \"other\": {\"token\": \"dummy-other\"}}"

static char dir[] = "/tmp/secretfs-identity-XXXXXX";
static char kubeconfig[PATH_MAX];
static sd_event *event;

static void write_kubeconfig(const char *scheme)
{
    FILE *f;
    int r;

    snprintf(kubeconfig, sizeof(kubeconfig), "%s/kubeconfig", dir);
    f = fopen(kubeconfig, "we");
    assert(f != NULL);
    /* nothing listens there, and no request is sent */
    r = fprintf(f,
                "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
                "clusters: [{name: s, cluster: {server: '%s://127.0.0.1:1'}}]\n"
                "users: [{name: u, user: {token: dummy}}]\n"
                "contexts: [{name: c, context: {cluster: s, user: u, namespace: prod}}]\n",
                scheme);
    assert(r >= 0);
    r = fclose(f);
    assert(r == 0);
}

static struct identities *make(enum node_rights rights, const char *file)
{
    const struct identities_options options = {
        .rights = rights, .place = {.kubeconfig = file}, .kubelet_root = dir};
    struct identities *all = NULL;

    assert_int_equal(identities_new(event, &options, &all), 0);
    return all;
}

static const struct identity_request web = {
    .namespace = "prod", .service_account = "web", .tokens = TOKEN_A};

static void test_rights(void **state)
{
    enum node_rights rights;

    assert_int_equal(node_rights_parse("node", &rights, NULL), 0);
    assert_int_equal(rights, NODE_RIGHTS_NODE);
    assert_int_equal(node_rights_parse("pod", &rights, NULL), 0);
    assert_int_equal(rights, NODE_RIGHTS_POD);
    assert_int_equal(node_rights_parse("daemon", &rights, NULL), 0);
    assert_int_equal(rights, NODE_RIGHTS_DAEMON);
    assert_int_equal(node_rights_parse("Pod", &rights, NULL), -EINVAL);
    assert_string_equal(node_rights_name(NODE_RIGHTS_POD), "pod");
}

/* The source stays open for later pods. */
static void test_daemon_rights_share_one_identity(void **state)
{
    struct identities *all = make(NODE_RIGHTS_DAEMON, kubeconfig);
    const struct identity_request other = {
        .namespace = "other", .service_account = "x", .tokens = ""};
    struct identity *a = NULL, *b = NULL;
    const struct source *source;
    struct error e = ERROR_INIT;

    assert_int_equal(identities_get(all, &web, &a, &e), 0);
    assert_int_equal(identities_get(all, &other, &b, &e), 0);
    assert_ptr_equal(a, b);
    assert_string_equal(a->namespace, "prod");
    source = a->source;
    a = identity_unref(a);
    b = identity_unref(b);
    assert_int_equal(identities_get(all, &web, &a, &e), 0);
    assert_ptr_equal(a->source, source);
    assert_int_equal(identity_renew(a, "", &e), 0); /* nothing to renew */
    identity_unref(a);
    identities_free(all);
}

/* A missing kubeconfig is looked for again by the next request. */
static void test_node_rights_find_the_kubeconfig(void **state)
{
    struct identities *all = make(NODE_RIGHTS_NODE, NULL);
    struct identity *i = NULL;
    char aside[PATH_MAX];
    struct error e = ERROR_INIT;

    if (access("/etc/kubernetes/kubelet.conf", F_OK) == 0) {
        identities_free(all);
        skip(); /* this machine has a kubelet of its own */
    }
    snprintf(aside, sizeof(aside), "%.4000s/aside", dir);
    assert_int_equal(rename(kubeconfig, aside), 0);
    assert_int_equal(identities_get(all, &web, &i, &e), -ENOENT);
    assert_non_null(strstr(e.text, kubeconfig));
    assert_int_equal(rename(aside, kubeconfig), 0);
    assert_int_equal(identities_get(all, &web, &i, &e), 0);
    identity_unref(i);
    identities_free(all);
}

static void test_pod_rights_have_one_for_each_account(void **state)
{
    struct identities *all = make(NODE_RIGHTS_POD, kubeconfig);
    const struct identity_request again = {
        .namespace = "prod", .service_account = "web", .tokens = TOKEN_B};
    const struct identity_request elsewhere = {
        .namespace = "test", .service_account = "web", .tokens = TOKEN_A};
    struct identity *a = NULL, *b = NULL, *c = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(identities_get(all, &web, &a, &e), 0);
    assert_int_equal(identities_get(all, &again, &b, &e), 0);
    assert_int_equal(identities_get(all, &elsewhere, &c, &e), 0);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_ptr_not_equal(a->store, c->store);
    assert_string_equal(a->name, "system:serviceaccount:prod:web");
    assert_string_equal(c->namespace, "test");
    assert_int_equal(identity_renew(a, TOKEN_B, &e), 0);
    identity_unref(a);
    identity_unref(b);
    identity_unref(c);
    identities_free(all);
}

/* Of a volume of an earlier process: the token comes with the kubelet's next publish. */
static void test_identity_waits_for_a_token(void **state)
{
    struct identities *all = make(NODE_RIGHTS_POD, kubeconfig);
    const struct identity_request without = {.namespace = "prod", .service_account = "web"};
    struct identity *a = NULL, *b = NULL, *c = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(identities_get_waiting(all, &without, &a, &e), 0);
    assert_null(a->source);
    assert_true(a->is_of_pod);
    assert_int_equal(identities_get_waiting(all, &without, &b, &e), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(identity_renew(b, "", &e), -EACCES);
    assert_null(a->source);
    assert_int_equal(identity_renew(b, TOKEN_A, &e), 0);
    assert_non_null(a->source);
    assert_int_equal(identities_get(all, &web, &c, &e), 0);
    assert_ptr_equal(a, c);
    identity_unref(a);
    identity_unref(b);
    identity_unref(c);
    identities_free(all);
}

/* Where no token is needed there is nothing to wait for. */
static void test_daemon_rights_do_not_wait(void **state)
{
    struct identities *all = make(NODE_RIGHTS_DAEMON, kubeconfig);
    struct identity *a = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(identities_get_waiting(all, &web, &a, &e), 0);
    assert_non_null(a->source);
    identity_unref(a);
    identities_free(all);
}

static void test_no_pod_token_over_http(void **state)
{
    struct identities *all = make(NODE_RIGHTS_POD, kubeconfig);
    struct identity *i = NULL;
    struct error e = ERROR_INIT;

    write_kubeconfig("http");
    assert_int_equal(identities_get(all, &web, &i, &e), -EINVAL);
    assert_non_null(strstr(e.text, "plain http"));
    write_kubeconfig("https");
    identities_free(all);
}

static void test_invalid_tokens_are_refused(void **state)
{
    static const char *const texts[] = {"",
                                        "{}",
                                        "[]",
                                        "{",
                                        "\"dummy-secret\"",
                                        "{\"\": \"dummy-secret\"}",
                                        "{\"\": {}}",
                                        "{\"\": {\"token\": 5}}",
                                        "{\"\": {\"token\": \"dummy-secret\\nX: y\"}}"};
    struct identities *all = make(NODE_RIGHTS_POD, kubeconfig);
    struct identity *i = NULL;

    for (size_t n = 0; n < ELEMENTS_OF(texts); n++) {
        const struct identity_request request = {
            .namespace = "prod", .service_account = "web", .tokens = texts[n]};
        struct error e = ERROR_INIT;

        assert_true(identities_get(all, &request, &i, &e) < 0);
        assert_null(strstr(e.text, "dummy-secret"));
        assert_int_not_equal(e.text[0], '\0');
    }
    identities_free(all);
}

static void test_equal_places_share_one_identity(void **state)
{
    struct identities *all = make(NODE_RIGHTS_DAEMON, kubeconfig);
    const struct identity_place none = {0}, manifests = {.manifests = dir};
    const struct identity_place nowhere = {.manifests = "/nowhere/at/all"};
    struct identity *own = NULL, *a = NULL, *b = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(identities_get_place(all, &none, &own, &e), 0);
    assert_int_equal(identities_get_place(all, &manifests, &a, &e), 0);
    assert_int_equal(identities_get_place(all, &manifests, &b, &e), 0);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, own);
    assert_string_equal(a->namespace, "default");
    identity_unref(a);
    identity_unref(b);
    identity_unref(own);
    assert_true(identities_get_place(all, &nowhere, &a, &e) < 0);
    identities_free(all);
}

static int make_with_what_memory_there_is(void *userdata)
{
    const struct identities_options options = {.kubelet_root = dir};
    struct identities *all = NULL;
    int r = identities_new(event, &options, &all);

    identities_free(all);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(make_with_what_memory_there_is, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights),
        cmocka_unit_test(test_daemon_rights_share_one_identity),
        cmocka_unit_test(test_node_rights_find_the_kubeconfig),
        cmocka_unit_test(test_pod_rights_have_one_for_each_account),
        cmocka_unit_test(test_identity_waits_for_a_token),
        cmocka_unit_test(test_daemon_rights_do_not_wait),
        cmocka_unit_test(test_no_pod_token_over_http),
        cmocka_unit_test(test_invalid_tokens_are_refused),
        cmocka_unit_test(test_equal_places_share_one_identity),
        cmocka_unit_test(test_no_memory),
    };
    const char *made;
    int r;

    made = mkdtemp(dir);
    assert(made != NULL);
    write_kubeconfig("https");
    r = sd_event_new(&event);
    assert(r >= 0);
    r = cmocka_run_group_tests(tests, NULL, NULL);
    sd_event_unref(event);
    unlink(kubeconfig);
    rmdir(dir);
    return r;
}
