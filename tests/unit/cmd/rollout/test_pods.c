/* SPDX-License-Identifier: Apache-2.0 */
/* Pods with each condition, and each way to mount the object. */
#include "cmd/rollout/pods.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdio.h>

#define DB(attributes)                                                                             \
    "{\"name\":\"creds\",\"csi\":{\"driver\":\"csi.secretfs.io\",\"volumeAttributes\":"            \
    "{" attributes "}}}"
#define SECRET DB("\"secretName\":\"db\"")
#define CONDITION(status, reason, message)                                                         \
    "{\"type\":\"secretfs.io/SecretsCurrent\",\"status\":\"" status "\",\"reason\":\"" reason      \
    "\",\"message\":\"" message "\"}"
#define PROVEN(message) CONDITION("True", "AllConsumersCurrent", message)

static const struct rollout_pods_query query = {
    .driver = "csi.secretfs.io", .kind = OBJECT_SECRET, .name = "db", .resource_version = "12"};

struct outcome {
    struct rollout_verdict verdict;
    struct buf lines, reasons;
};

static void outcome_deinit(struct outcome *o)
{
    buf_deinit(&o->lines);
    buf_deinit(&o->reasons);
}

static void add(struct rollout_pods *pods, const char *phase, const char *volumes,
                const char *conditions)
{
    _cleanup_(cJSON_Deletep) cJSON *pod = NULL;
    struct error e = ERROR_INIT;
    char text[4096];
    int len = snprintf(text, sizeof(text),
                       "{\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\"},"
                       "\"spec\":{\"nodeName\":\"n1\",\"volumes\":[%s]},"
                       "\"status\":{\"phase\":\"%s\",\"conditions\":[%s]}}",
                       volumes, phase, conditions);

    assert_int_equal(json_parse(text, (size_t)len, &pod, &e), 0);
    assert_int_equal(rollout_pods_add(pods, pod), 0);
}

static struct outcome judge(const char *phase, const char *volumes, const char *conditions)
{
    _cleanup_(rollout_pods_freep) struct rollout_pods *pods = NULL;
    struct outcome o = {.lines = BUF_INIT(65536), .reasons = BUF_INIT(65536)};

    assert_int_equal(rollout_pods_new(&query, &pods), 0);
    add(pods, phase, volumes, conditions);
    assert_int_equal(rollout_pods_finish(pods, &o.verdict, &o.lines, &o.reasons), 0);
    return o;
}

static void test_conditions(void **state)
{
    static const struct {
        const char *phase, *conditions;
        enum rollout_state state;
        const char *reason;
    } cases[] = {
        {"Running", PROVEN("secret/prod/db@12"), ROLLOUT_DONE, ""},
        {"Running", PROVEN("secret/prod/db@13"), ROLLOUT_DONE, ""},
        {"Running", PROVEN("secret/prod/db@100"), ROLLOUT_DONE, ""},
        {"Running", PROVEN("configmap/prod/db@3, secret/prod/db@12"), ROLLOUT_DONE, ""},
        {"Running", PROVEN("secret/prod/db@9"), ROLLOUT_WAITING,
         "pod web-0: has version 9, not 12\n"},
        {"Running", PROVEN("secret/prod/db@12, secret/prod/db@11"), ROLLOUT_WAITING,
         "pod web-0: has version 11, not 12\n"},
        {"Running", PROVEN("secret/prod/db2@12, secret/other/db@12"), ROLLOUT_UNSEEN,
         "pod web-0: the condition does not have the version of secret/prod/db\n"},
        {"Running", PROVEN(""), ROLLOUT_UNSEEN,
         "pod web-0: the condition does not have the version of secret/prod/db\n"},
        {"Running", CONDITION("False", "OldVersionInUse", "secret/prod/db@12: old"),
         ROLLOUT_WAITING, "pod web-0: secret/prod/db@12: old\n"},
        {"Running", CONDITION("Unknown", "ConsumersUnknown", "missed"), ROLLOUT_UNSEEN,
         "pod web-0: missed\n"},
        {"Running", "{\"type\":\"Ready\",\"status\":\"True\"}", ROLLOUT_UNSEEN,
         "pod web-0: has no condition secretfs.io/SecretsCurrent; its volume needs `report: "
         "condition`, or its node `report-conditions: on`\n"},
        {"Pending", "", ROLLOUT_WAITING, "pod web-0: has not started\n"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(outcome_deinit) struct outcome o =
            judge(cases[i].phase, SECRET, cases[i].conditions);

        assert_string_equal(buf_text(&o.reasons), cases[i].reason);
        assert_int_equal(o.verdict.state, cases[i].state);
        assert_int_equal(o.verdict.n_volumes, 1);
        assert_int_equal(o.verdict.n_current, cases[i].state == ROLLOUT_DONE);
        assert_int_equal(o.verdict.n_waiting, cases[i].state == ROLLOUT_WAITING);
    }
}

static void test_pods_that_mount_the_object(void **state)
{
    static const struct {
        const char *volumes;
        bool is_concerned;
    } cases[] = {
        {"", false},
        {SECRET, true},
        {DB("\"secretName\":\"other\""), false},
        {DB("\"configMap\":\"db\""), false},
        {DB("\"volume\":\"{secret: {secretName: db, optional: true}}\""), true},
        {DB("\"sources\":\"[{configMap: {name: web}}, {secret: {name: db}}]\""), true},
        {DB("\"unknown\":\"db\""), false},
        {"{\"name\":\"db\",\"csi\":{\"driver\":\"csi.secretfs.io\"}}", true},
        {"{\"name\":\"x\",\"csi\":{\"driver\":\"csi.secretfs.io\",\"nodePublishSecretRef\":"
         "{\"name\":\"db\"}}}",
         true},
        {DB("\"podVolume\":\"own\"") ",{\"name\":\"own\",\"secret\":{\"secretName\":\"db\"}}",
         true},
        {DB("\"podVolume\":\"none\""), false},
        {"{\"name\":\"creds\",\"csi\":{\"driver\":\"other\",\"volumeAttributes\":"
         "{\"secretName\":\"db\"}}}",
         false},
        {"{\"name\":\"creds\",\"secret\":{\"secretName\":\"db\"}}", false},
        {"{\"name\":\"cache\",\"emptyDir\":{}}," SECRET, true},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(outcome_deinit) struct outcome o =
            judge("Running", cases[i].volumes, PROVEN("secret/prod/db@12"));

        assert_int_equal(o.verdict.n_volumes, cases[i].is_concerned);
    }
}

static void test_pods_that_have_ended(void **state)
{
    static const char *const phases[] = {"Succeeded", "Failed"};

    for (size_t i = 0; i < ELEMENTS_OF(phases); i++) {
        _cleanup_(outcome_deinit) struct outcome o = judge(phases[i], SECRET, "");

        assert_int_equal(o.verdict.n_volumes, 0);
        assert_string_equal(buf_text(&o.lines), "");
    }
}

static void test_table(void **state)
{
    _cleanup_(outcome_deinit) struct outcome o =
        judge("Running", SECRET, PROVEN("secret/prod/db@12"));

    assert_string_equal(buf_text(&o.lines),
                        "POD     NODE                   STATE      REASON                 VERSION\n"
                        "web-0   n1                     current    AllConsumersCurrent    12\n");
}

static void test_worst_pod_counts(void **state)
{
    _cleanup_(rollout_pods_freep) struct rollout_pods *pods = NULL;
    _cleanup_(outcome_deinit) struct outcome o = {.lines = BUF_INIT(65536),
                                                  .reasons = BUF_INIT(65536)};

    assert_int_equal(rollout_pods_new(&query, &pods), 0);
    add(pods, "Running", SECRET, PROVEN("secret/prod/db@12"));
    add(pods, "Running", SECRET, CONDITION("Unknown", "ConsumersUnknown", "missed"));
    add(pods, "Running", SECRET, CONDITION("False", "UpdateHeld", "held"));
    assert_int_equal(rollout_pods_finish(pods, &o.verdict, &o.lines, &o.reasons), 0);
    assert_int_equal(o.verdict.state, ROLLOUT_UNSEEN);
    assert_int_equal(o.verdict.n_current, 1);
    assert_int_equal(o.verdict.n_waiting, 1);
    assert_string_equal(buf_text(&o.reasons), "pod web-0: missed\npod web-0: held\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_pods_that_mount_the_object),
        cmocka_unit_test(test_pods_that_have_ended),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_worst_pod_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
