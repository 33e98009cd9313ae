/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/certificate_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/assert_between.h"

#define DETAIL "u-1\nweb-0\nexample.com/a\nED25519\n7200\n{\"example.com/x\":\"a\\nb\"}"

static const struct object_key key = {OBJECT_POD_CERTIFICATE, "prod", "web", DETAIL};
static const struct certificate_request_place place = {
    .account_uid = "s-1", .node = "node-0", .node_uid = "n-1"};

static void test_key(void **state)
{
    static const struct object_key bad = {OBJECT_POD_CERTIFICATE, "prod", "web",
                                          "u-1\nweb-0\nexample.com/a\nED25519\n7200"};
    struct certificate_request request;
    char *buf = NULL;

    assert_int_equal(certificate_request_from_key(&key, &request, &buf), 0);
    assert_string_equal(request.namespace, "prod");
    assert_string_equal(request.service_account, "web");
    assert_string_equal(request.pod_uid, "u-1");
    assert_string_equal(request.pod, "web-0");
    assert_string_equal(request.signer, "example.com/a");
    assert_string_equal(request.key_type, "ED25519");
    assert_int_equal(request.max_expiration_s, 7200);
    assert_string_equal(request.annotations, "{\"example.com/x\":\"a\\nb\"}");
    free(buf);
    assert_int_equal(certificate_request_from_key(&bad, &request, &buf), -EINVAL);
    free(buf);
}

/* Y18 */
static void test_request(void **state)
{
    struct certificate_request request;
    char *buf = NULL, *body;

    assert_int_equal(certificate_request_from_key(&key, &request, &buf), 0);
    body = certificate_request_body(&request, &place, "AAAA");
    assert_string_equal(
        body,
        "{\"apiVersion\":\"certificates.k8s.io/v1\",\"kind\":\"PodCertificateRequest\","
        "\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":"
        "\"web-0\",\"uid\":\"u-1\"}],\"generateName\":\"req-\",\"namespace\":\"prod\"},\"spec\":{"
        "\"signerName\":\"example.com/a\",\"podName\":\"web-0\",\"podUID\":\"u-1\","
        "\"serviceAccountName\":\"web\",\"serviceAccountUID\":\"s-1\",\"nodeName\":\"node-0\","
        "\"nodeUID\":\"n-1\",\"maxExpirationSeconds\":7200,\"stubPKCS10Request\":\"AAAA\","
        "\"unverifiedUserAnnotations\":{\"example.com/x\":\"a\\nb\"}}}");
    cJSON_free(body);
    request.annotations = "{}";
    body = certificate_request_body(&request, &place, "AAAA");
    assert_null(strstr(body, "unverifiedUserAnnotations"));
    cJSON_free(body);
    free(buf);
}

/* Y27 */
static void test_paths(void **state)
{
    const struct certificate_request request = {.namespace = "prod"};
    struct buf path = BUF_INIT(1024);

    assert_int_equal(certificate_request_add_path(&request, &path), 0);
    assert_string_equal(buf_text(&path),
                        "/apis/certificates.k8s.io/v1/namespaces/prod/podcertificaterequests");
    buf_reset(&path);
    assert_int_equal(
        certificate_request_add_watch_path(&request, "req-1&x", "node-0", SPAN_SEC(300), &path), 0);
    assert_string_equal(buf_text(&path),
                        "/apis/certificates.k8s.io/v1/namespaces/prod/podcertificaterequests?watch="
                        "true&timeoutSeconds=300&fieldSelector=metadata.name%3Dreq-1%26x%2C"
                        "spec.nodeName%3Dnode-0");
    buf_deinit(&path);
}

/* ---- what came of it */

#define CONDITION(type, status)                                                                    \
    "{\"type\":\"" type "\",\"status\":\"" status "\",\"reason\":\"Why\",\"message\":\"so\"}"
#define TIMES                                                                                      \
    "\"notBefore\":\"2026-01-02T03:00:00Z\",\"beginRefreshAt\":\"2026-01-02T03:40:00Z\","          \
    "\"notAfter\":\"2026-01-02T04:00:00Z\""
#define REQUEST(status) "{\"metadata\":{\"name\":\"req-1\"},\"status\":{" status "}}"

static int read_text(const char *text, struct certificate_status *ret_status, struct error *e)
{
    cJSON *json = cJSON_Parse(text);
    int r;

    assert_non_null(json);
    r = certificate_request_read(json, ret_status, e);
    cJSON_Delete(json);
    return r;
}

static void test_states(void **state)
{
    static const struct {
        const char *text;
        int state;
        const char *message;
    } answers[] = {
        {REQUEST(""), CERTIFICATE_PENDING, ""},
        {"{}", CERTIFICATE_PENDING, ""},
        {"[]", CERTIFICATE_PENDING, ""},
        {REQUEST("\"conditions\":[{}]"), CERTIFICATE_PENDING, ""},
        {REQUEST("\"conditions\":[" CONDITION("Issued", "False") "]"), CERTIFICATE_PENDING, ""},
        {REQUEST(
             "\"conditions\":[" CONDITION("Issued", "True") "],\"certificateChain\":\"c\"," TIMES),
         CERTIFICATE_ISSUED, ""},
        {REQUEST("\"conditions\":[" CONDITION("Denied", "True") "]"), CERTIFICATE_REFUSED,
         "the signer denied podcertificaterequest req-1: Why: so"},
        {REQUEST("\"conditions\":[{\"type\":\"Failed\"}]"), CERTIFICATE_REFUSED,
         "the signer failed on podcertificaterequest req-1: no reason given"},
        {REQUEST("\"conditions\":[" CONDITION("Issued", "True") "]," TIMES), -EINVAL,
         "issued without certificateChain"},
        {REQUEST("\"conditions\":[" CONDITION("Issued", "True") "],\"certificateChain\":\"c\""),
         -EINVAL, "beginRefreshAt or notAfter"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(answers); i++) {
        struct certificate_status status;
        struct error e = ERROR_INIT;

        if (read_text(answers[i].text, &status, &e) != answers[i].state)
            fail_msg("another state: %s", answers[i].text);
        assert_non_null(strstr(e.text, answers[i].message));
    }
}

static void test_times(void **state)
{
    struct certificate_status status;
    struct error e = ERROR_INIT;

    read_text(REQUEST("\"conditions\":[" CONDITION("Issued",
                                                   "True") "],\"certificateChain\":\"c\"," TIMES),
              &status, &e);
    assert_int_equal(status.not_before.tv_sec, 1767322800);
    assert_int_equal(status.begin_refresh_at.tv_sec, 1767322800 + 2400);
    assert_int_equal(status.not_after.tv_sec, 1767322800 + 3600);
}

/* ---- the renewal */

#define NOW 1700000000

/* Seconds from now; the certificate's times are relative to now as well. */
static long renewal(long begun, long refresh, long end, uint64_t random)
{
    const struct certificate_status status = {.not_before = {.tv_sec = NOW + begun},
                                              .begin_refresh_at = {.tv_sec = NOW + refresh},
                                              .not_after = {.tv_sec = NOW + end}};
    const struct timespec now = {.tv_sec = NOW};

    return certificate_renewal_time(&status, now, random).tv_sec - NOW;
}

/* Y20: up to five minutes after beginRefreshAt. */
static void test_renewal(void **state)
{
    assert_int_equal(renewal(0, 43200, 86400, 0), 43200);
    assert_int_equal(renewal(0, 43200, 86400, 299), 43499);
    assert_int_equal(renewal(0, 43200, 86400, 300), 43200);
    assert_int_equal(renewal(-600, 600, 3000, 7), 607);
}

/* Y22 leaves ten minutes; a server that leaves less is renewed in the first half of them. */
static void test_renewal_before_the_end(void **state)
{
    for (uint64_t random = 0; random < 1000; random++) {
        assert_between(renewal(0, 3000, 3600, random), 3000, 3299);
        assert_between(renewal(0, 3590, 3600, random), 3590, 3594);
        assert_int_equal(renewal(0, 3600, 3600, random), 3600);
    }
}

/* A clock that is ahead does not make a request after the other. */
static void test_wrong_clock(void **state)
{
    assert_int_equal(renewal(-3600, -1200, 0, 0), 360);
    assert_int_equal(renewal(-100000, -90000, -13600, 5), 8640);
    assert_int_equal(renewal(0, 0, 0, 0), 1);
    assert_int_equal(renewal(0, 0, -5, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_renewal_before_the_end),
        cmocka_unit_test(test_wrong_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
