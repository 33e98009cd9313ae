/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pod.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "encoding/json.h"
#include "tests/unit/failmalloc.h"

#define DRIVER "csi.secretfs.io"
#define META   "\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"u-1\"}"
#define OURS(name)                                                                                 \
    "{\"name\":\"" name "\",\"csi\":{\"driver\":\"" DRIVER "\",\"readOnly\":true,"                 \
    "\"volumeAttributes\":{\"secretName\":\"db\"}}}"
#define MOUNT(name, more) "{\"name\":\"" name "\",\"mountPath\":\"/m\"" more "}"
#define CONTAINERS(kind, mounts)                                                                   \
    "\"" kind "\":[{\"name\":\"side\"},{\"name\":\"main\",\"volumeMounts\":[" mounts "]}]"
#define POD(spec) "{\"kind\":\"Pod\"," META ",\"spec\":{" spec "}}"

static int decode(const char *text, struct pod **ret_pod)
{
    cJSON *json = NULL;
    int r;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    r = pod_decode(json, DRIVER, ret_pod);
    cJSON_Delete(json);
    return r;
}

static struct pod *decode_well(const char *text)
{
    struct pod *pod = NULL;

    assert_int_equal(decode(text, &pod), 0);
    assert_non_null(pod);
    return pod;
}

/* ---- pods that are kept */

static void test_names(void **state)
{
    struct pod *pod = decode_well(POD("\"volumes\":[" OURS("creds") "]"));

    assert_true(pod_is(pod, "prod", "web-0", "u-1"));
    assert_false(pod_is(pod, "prod", "web-0", "u-2"));
    assert_false(pod_is(pod, "prod", "web-1", "u-1"));
    assert_false(pod_is(pod, "test", "web-0", "u-1"));
    assert_false(pod_has_sub_path(pod, "creds"));
    assert_false(pod_has_sub_path(pod, ""));
    assert_null(pod_free(pod));
}

static void test_status(void **state)
{
    struct pod *pod = decode_well(
        "{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"u-1\","
        "\"deletionTimestamp\":\"2026-01-02T03:04:05Z\"},\"spec\":{\"volumes\":[" OURS(
            "creds") "]},"
                     "\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"},7,{"
                     "\"type\":"
                     "\"" POD_CONDITION_TYPE
                     "\",\"status\":\"True\",\"reason\":\"R\",\"message\":\"M\","
                     "\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}],"
                     "\"containerStatuses\":[{\"name\":\"web\",\"containerID\":\"containerd://"
                     "abc\",\"state\":"
                     "{\"running\":{\"startedAt\":\"1970-01-01T00:10:00Z\"}}},"
                     "{\"name\":\"waits\",\"state\":{\"waiting\":{}}},{\"name\":\"odd\","
                     "\"containerID\":\"x\"}],"
                     "\"initContainerStatuses\":[{\"name\":\"side\",\"containerID\":\"cri-o://"
                     "def\",\"state\":"
                     "{\"running\":{\"startedAt\":\"1970-01-01T00:05:00Z\"}}}]}}");

    assert_true(pod->is_deleted);
    assert_int_equal(pod->oldest_start, 300);
    assert_string_equal(pod_container_name(pod, "abc"), "web");
    assert_string_equal(pod_container_name(pod, "def"), "side");
    assert_null(pod_container_name(pod, "web"));
    assert_null(pod_container_name(pod, "x"));
    assert_string_equal(pod->condition.status, "True");
    assert_string_equal(pod->condition.reason, "R");
    assert_string_equal(pod->condition.message, "M");
    assert_string_equal(pod->condition.last_transition, "2026-01-01T00:00:00Z");
    pod_free(pod);
}

/* In pairs, for a label selector; what is no label is left out. */
static void test_labels(void **state)
{
    static const char expected[] = "app\0web\0empty\0\0";
    struct pod *pod =
        decode_well("{\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-0\",\"uid\":\"u-1\","
                    "\"labels\":{\"app\":\"web\",\"\":\"no key\",\"no-text\":7,\"empty\":\"\"}},"
                    "\"spec\":{\"volumes\":[" OURS("creds") "]}}");

    assert_memory_equal(pod->labels, expected, sizeof(expected));
    pod_free(pod);
    pod = decode_well(POD("\"volumes\":[" OURS("creds") "]"));
    assert_string_equal(pod->labels, "");
    pod_free(pod);
}

static void test_without_status(void **state)
{
    struct pod *pod = decode_well(POD("\"volumes\":[" OURS("creds") "]"));

    assert_false(pod->is_deleted);
    assert_int_equal(pod->oldest_start, 0);
    assert_null(pod_container_name(pod, ""));
    assert_string_equal(pod->condition.status, "");
    pod_free(pod);
}

/* Whether "creds" is mounted by subPath in a pod with such containers. */
static const struct {
    const char *containers;
    bool has_sub_path;
} mounts[] = {
    {CONTAINERS("containers", ""), false},
    {CONTAINERS("containers", MOUNT("creds", "")), false},
    {CONTAINERS("containers", MOUNT("creds", ",\"subPath\":\"\"")), false},
    {CONTAINERS("containers", MOUNT("creds", ",\"subPath\":null")), false},
    {CONTAINERS("containers", MOUNT("creds", ",\"subPath\":7")), false},
    {CONTAINERS("containers", MOUNT("creds", ",\"subPath\":\"a/b\"")), true},
    {CONTAINERS("containers", MOUNT("creds", ",\"subPathExpr\":\"$(K)\"")), true},
    {CONTAINERS("containers", MOUNT("creds", "") "," MOUNT("creds", ",\"subPath\":\"a\"")), true},
    {CONTAINERS("containers", MOUNT("other", ",\"subPath\":\"a\"")), false},
    {CONTAINERS("initContainers", MOUNT("creds", ",\"subPath\":\"a\"")), true},
    {CONTAINERS("ephemeralContainers", MOUNT("creds", ",\"subPathExpr\":\"a\"")), true},
    {CONTAINERS("otherContainers", MOUNT("creds", ",\"subPath\":\"a\"")), false},
    {"\"containers\":[{\"volumeMounts\":{\"a\":" MOUNT("creds", "") "}}]", false},
    {"\"containers\":[7,null,[],{\"volumeMounts\":[7,null,{},\"creds\"]}]", false},
    {"\"containers\":\"creds\"", false},
};

static void test_mounts(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(mounts); i++) {
        struct buf text = BUF_INIT(4096);
        struct pod *pod;

        assert_int_equal(
            buf_addf(&text, POD("\"volumes\":[" OURS("creds") "],%s"), mounts[i].containers), 0);
        pod = decode_well(buf_text(&text));
        if (pod_has_sub_path(pod, "creds") != mounts[i].has_sub_path)
            fail_msg("%s", mounts[i].containers);
        pod_free(pod);
        buf_deinit(&text);
    }
}

#define SEVERAL                                                                                    \
    "\"volumes\":[" OURS("one") "," OURS("two") "," OURS(                                          \
        "three") ","                                                                               \
                 "{\"name\":\"other\",\"csi\":{\"driver\":\"csi.example.com\"}},"                  \
                 "{\"name\":\"twin\",\"projected\":{\"sources\":[{\"secret\":{\"name\":\"db\"}}]}" \
                 "},"                                                                              \
                 "{\"name\":\"plain\",\"secret\":{\"secretName\":\"db\"}}]"
#define SUB_PATH(name) MOUNT(name, ",\"subPath\":\"a\"")
#define OTHERS         SUB_PATH("other") "," SUB_PATH("twin") "," SUB_PATH("plain")

/* A volume of another kind with a subPath is ignored, also with the same name. */
static void test_several_volumes(void **state)
{
    static const char text[] = POD(SEVERAL "," CONTAINERS(
        "containers",
        SUB_PATH("one") "," MOUNT("two", "") "," OTHERS) "," CONTAINERS("initContainers",
                                                                        SUB_PATH("three")));
    static const char *const no[] = {"two", "other", "twin", "plain", "on", "onet", "main"};
    struct pod *pod = decode_well(text);

    assert_true(pod_has_sub_path(pod, "one"));
    assert_true(pod_has_sub_path(pod, "three"));
    for (size_t i = 0; i < ELEMENTS_OF(no); i++)
        assert_false(pod_has_sub_path(pod, no[i]));
    pod_free(pod);
}

/* ---- pods that are not kept */

static void test_pods_without_our_volumes(void **state)
{
    static const char *const texts[] = {
        POD(""),
        POD("\"volumes\":null"),
        POD("\"volumes\":[]"),
        POD("\"volumes\":\"" DRIVER "\""),
        POD("\"volumes\":[null,7,{},{\"name\":\"creds\"},{\"csi\":{\"driver\":\"" DRIVER "\"}}]"),
        POD("\"volumes\":[{\"name\":\"creds\",\"csi\":{\"driver\":\"csi.secretfs.io.x\"}}]"),
        POD("\"volumes\":[{\"name\":\"../x\",\"csi\":{\"driver\":\"" DRIVER "\"}}]"),
        "{" META "}",
        "{" META ",\"spec\":7}",
        "{" META ",\"spec\":{\"volumes\":[" OURS("a") "]},\"status\":{\"phase\":\"Succeeded\"}}",
        "{" META ",\"spec\":{\"volumes\":[" OURS("a") "]},\"status\":{\"phase\":\"Failed\"}}",
    };
    struct pod *pod = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++)
        if (decode(texts[i], &pod) != POD_WITHOUT_VOLUMES)
            fail_msg("%s", texts[i]);
    assert_null(pod);
}

static void test_what_is_no_pod(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "7",
        "{\"kind\":\"Secret\"," META "}",
        "{\"metadata\":{\"name\":\"a\",\"uid\":\"u\"}}",
        "{\"metadata\":{\"namespace\":\"a\",\"uid\":\"u\"}}",
        "{\"metadata\":{\"namespace\":\"a\",\"name\":\"b\"}}",
        "{\"metadata\":{\"namespace\":\"a\",\"name\":\"b\",\"uid\":\"\"}}",
        "{\"metadata\":{\"namespace\":\"a\",\"name\":\"b\",\"uid\":7}}",
        "{\"metadata\":{\"namespace\":\"a/b\",\"name\":\"b\",\"uid\":\"u\"}}",
        "{\"metadata\":{\"namespace\":\"a\",\"name\":\"B?\",\"uid\":\"u\"}}",
    };
    struct pod *pod = NULL;

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++)
        if (decode(texts[i], &pod) != -EINVAL)
            fail_msg("%s", texts[i]);
    assert_null(pod);
    assert_int_equal(pod_decode(NULL, DRIVER, &pod), -EINVAL);
}

static void test_uid_that_is_too_long(void **state)
{
    char uid[POD_UID_MAX + 2];
    cJSON *json = cJSON_CreateObject();

    memset(uid, 'u', sizeof(uid) - 1);
    uid[sizeof(uid) - 1] = '\0';
    cJSON_AddStringToObject(cJSON_AddObjectToObject(json, "metadata"), "uid", uid);
    assert_null(pod_uid_of(json));
    cJSON_Delete(json);
}

/* Those beyond the limit count as mounted without subPath. */
static void test_too_many_volumes(void **state)
{
    struct buf text = BUF_INIT(1 << 20);
    char name[16];
    struct pod *pod;
    int r = buf_add_text(&text, "{" META ",\"spec\":{\"volumes\":[");

    for (unsigned i = 0; i <= POD_VOLUMES_MAX; i++)
        r |= buf_addf(&text, "%s" OURS("v%u"), i > 0 ? "," : "", i);
    r |= buf_add_text(&text, "],\"containers\":[{\"volumeMounts\":[");
    for (unsigned i = 0; i <= POD_VOLUMES_MAX; i++)
        r |= buf_addf(&text, "%s" MOUNT("v%u", ",\"subPath\":\"a\""), i > 0 ? "," : "", i);
    r |= buf_add_text(&text, "]}]}}");
    assert_int_equal(r, 0);
    pod = decode_well(buf_text(&text));
    for (unsigned i = 0; i <= POD_VOLUMES_MAX; i++) {
        snprintf(name, sizeof(name), "v%u", i);
        assert_int_equal(pod_has_sub_path(pod, name), i < POD_VOLUMES_MAX);
    }
    pod_free(pod);
    buf_deinit(&text);
}

/* ---- details */

#define FOR(name, pod_volume)                                                                      \
    "{\"name\":\"" name "\",\"csi\":{\"driver\":\"" DRIVER                                         \
    "\",\"volumeAttributes\":{\"podVolume\":\"" pod_volume "\"}}}"
#define ENTRY(name) "{\"name\":\"" name "\",\"secret\":{\"secretName\":\"db\",\"defaultMode\":420}}"

static void test_entries_that_volumes_stand_for(void **state)
{
    static const char text[] = POD("\"volumes\":[" FOR("a", "a-own") "," FOR(
        "b", "missing") "," FOR("c", "") "," ENTRY("a-own") "," ENTRY("other") "]");
    struct pod *pod = decode_well(text);
    cJSON *details = NULL;
    const cJSON *entry;

    assert_int_equal(pod_details(pod, &details), 0);
    entry = pod_volume_entry(details, "a-own");
    assert_string_equal(json_text(json_member(entry, "secret"), "secretName"), "db");
    assert_null(pod_volume_entry(details, "other"));
    assert_null(pod_volume_entry(details, "missing"));
    assert_null(pod_volume_entry(details, ""));
    cJSON_Delete(details);
    pod_free(pod);
}

/* Nothing more is kept of a pod that needs nothing more. */
static void test_no_details(void **state)
{
    struct pod *pod = decode_well(POD("\"volumes\":[" OURS("creds") "," ENTRY("other") "]"));
    cJSON *details = NULL;

    assert_string_equal(pod->details, "");
    assert_int_equal(pod_details(pod, &details), 0);
    assert_null(pod_volume_entry(details, "other"));
    cJSON_Delete(details);
    pod_free(pod);
}

static int attempt(void *userdata)
{
    struct pod *pod = NULL;
    int r = pod_decode(userdata, DRIVER, &pod);

    pod_free(pod);
    return r;
}

static void test_no_memory(void **state)
{
    static const char text[] = POD("\"volumes\":[" FOR("creds", "own") "," ENTRY("own") "]");
    cJSON *json = NULL;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    failmalloc_try(attempt, json);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_without_status),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_several_volumes),
        cmocka_unit_test(test_pods_without_our_volumes),
        cmocka_unit_test(test_what_is_no_pod),
        cmocka_unit_test(test_uid_that_is_too_long),
        cmocka_unit_test(test_too_many_volumes),
        cmocka_unit_test(test_entries_that_volumes_stand_for),
        cmocka_unit_test(test_no_details),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
