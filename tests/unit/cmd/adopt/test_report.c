/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/adopt/report.h"
#include "encoding/json.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/assert_between.h"

#define LABELLED "{\"labels\":{\"secretfs.io/adopt\":\"enabled\"}}"
#define TOKENS                                                                                     \
    "{\"labels\":{\"secretfs.io/adopt\":\"enabled\","                                              \
    "\"secretfs.io/adopt-service-account-tokens\":\"enabled\"}}"
#define POD(more, volumes)                                                                         \
    "{\"spec\":{" more "\"containers\":[{\"volumeMounts\":[{\"name\":\"a\"},{\"name\":\"b\"},"     \
    "{\"name\":\"kube-api-access-x\"}]}],\"volumes\":[" volumes "]}}"
#define PLAIN "{\"name\":\"a\",\"secret\":{}}"
#define SERVED                                                                                     \
    "{\"name\":\"b-secretfs\",\"secret\":{}},{\"name\":\"b\",\"csi\":{\"driver\":\"csi.secretfs."  \
    "io\"}}"
#define TOKEN "{\"name\":\"kube-api-access-x\",\"projected\":{\"sources\":[]}}"

static const struct {
    const char *namespace;
    const char *pod;
    size_t n_served, n_volumes;
    const char *reason;
} reports[] = {
    {LABELLED, "{}", 0, 0, ""},
    {"{}", POD("", "{\"name\":\"a\",\"emptyDir\":{}},7"), 0, 0, ""},
    {LABELLED, POD("", SERVED), 1, 1, ""},
    {LABELLED, POD("", SERVED "," TOKEN), 1, 1, ""},
    {"{}", POD("", SERVED), 1, 1, ""},
    {"{}", POD("", PLAIN), 0, 1, "the namespace has no label secretfs.io/adopt: enabled"},
    {LABELLED, POD("", PLAIN "," SERVED), 1, 2,
     "a: created without the policy: apply deploy/adopt, then recreate the pod"},
    {TOKENS, POD("", PLAIN "," TOKEN), 0, 2,
     "a, kube-api-access-x: created without the policy: apply deploy/adopt, then recreate the pod"},
    {LABELLED, POD("", PLAIN ",{\"name\":\"a-secretfs\"},{\"name\":\"b\",\"projected\":{}}," PLAIN),
     0, 3,
     "b: it has a source that secretfs does not know; a, a: rename it: another volume has its name "
     "with -secretfs"},
    {LABELLED, POD("\"os\":{\"name\":\"windows\"},", PLAIN), 0, 1, "a pod of Windows"},
    {LABELLED, POD("\"runtimeClassName\":\"kata\",", PLAIN), 0, 1,
     "a runtime class of virtual machines"},
    {LABELLED, POD("", "{\"name\":\"a\",\"projected\":{\"sources\":[{\"ofLater\":{}}]}}"), 0, 1,
     "a: it has a source that secretfs does not know"},
    {LABELLED, POD("", PLAIN ",{\"name\":\"a-secretfs\"}"), 0, 1,
     "a: rename it: another volume has its name with -secretfs"},
    {LABELLED, POD("", "{\"name\":\"unmounted\",\"secret\":{}}"), 0, 0, ""},
};

static void test_reports(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(reports); i++) {
        cJSON *namespace = cJSON_Parse(reports[i].namespace), *pod = cJSON_Parse(reports[i].pod);
        struct report report = REPORT_INIT;

        assert_true(namespace != NULL && pod != NULL);
        assert_int_equal(report_pod(pod, namespace, &report), 0);
        assert_string_equal(buf_text(&report.reason), reports[i].reason);
        assert_int_equal(report.n_served, reports[i].n_served);
        assert_int_equal(report.n_volumes, reports[i].n_volumes);
        report_deinit(&report);
        cJSON_Delete(namespace);
        cJSON_Delete(pod);
    }
}

static void test_unknown_namespace(void **state)
{
    cJSON *pod = cJSON_Parse(POD("", PLAIN));
    struct report report = REPORT_INIT;

    assert_int_equal(report_pod(pod, NULL, &report), 0);
    assert_int_equal(report.n_served, 0);
    assert_non_null(strstr(buf_text(&report.reason), "no label"));
    report_deinit(&report);
    cJSON_Delete(pod);
}

/* The reasons of many volumes are cut. */
static void test_long_reason(void **state)
{
    cJSON *pod = cJSON_Parse(POD("", "")), *namespace = cJSON_Parse(LABELLED);
    cJSON *volumes = cJSON_GetObjectItem(cJSON_GetObjectItem(pod, "spec"), "volumes");
    struct report report = REPORT_INIT;

    for (int i = 0; i < 1000; i++)
        cJSON_AddItemToArray(volumes, cJSON_Parse(PLAIN));
    assert_int_equal(report_pod(pod, namespace, &report), 0);
    assert_int_equal(report.n_volumes, 1000);
    assert_between(report.reason.len, REPORT_REASON_MAX / 2, REPORT_REASON_MAX);
    report_deinit(&report);
    cJSON_Delete(namespace);
    cJSON_Delete(pod);
}

static int try_report(void *userdata)
{
    cJSON *namespace = cJSON_Parse(LABELLED);
    struct report report = REPORT_INIT;
    int r = namespace != NULL ? report_pod(userdata, namespace, &report) : -ENOMEM;

    report_deinit(&report);
    cJSON_Delete(namespace);
    return r;
}

static void test_out_of_memory(void **state)
{
    cJSON *pod = cJSON_Parse(POD("", PLAIN "," SERVED));

    failmalloc_try(try_report, pod);
    cJSON_Delete(pod);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_unknown_namespace),
        cmocka_unit_test(test_long_reason),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
