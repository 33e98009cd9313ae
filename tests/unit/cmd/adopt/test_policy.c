/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cmd/adopt/policy.h"
#include "encoding/json.h"

#include "tests/unit/failmalloc.h"

#define NAME_54 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

static cJSON *parse(const char *text)
{
    cJSON *json = cJSON_Parse(text);

    assert_non_null(json);
    return json;
}

static const struct {
    const char *pod;
    enum adopt_pod expected;
} pods[] = {
    {"{}", ADOPT_POD},
    {"{\"metadata\":{\"annotations\":{\"secretfs.io/adopt\":\"enabled\"}}}", ADOPT_POD},
    {"{\"metadata\":{\"annotations\":{\"secretfs.io/adopt\":\"disabled\"}}}", ADOPT_POD_DISABLED},
    {"{\"metadata\":{\"annotations\":{\"kubernetes.io/config.mirror\":\"x\"}}}", ADOPT_POD_MIRROR},
    {"{\"spec\":{\"os\":{\"name\":\"linux\"}}}", ADOPT_POD},
    {"{\"spec\":{\"os\":{\"name\":\"windows\"}}}", ADOPT_POD_WINDOWS},
    {"{\"spec\":{\"nodeSelector\":{\"kubernetes.io/os\":\"windows\"}}}", ADOPT_POD_WINDOWS},
    {"{\"spec\":{\"runtimeClassName\":\"runc\"}}", ADOPT_POD},
    {"{\"spec\":{\"runtimeClassName\":\"gvisor\"}}", ADOPT_POD_RUNTIME_CLASS},
};

static void test_pods(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(pods); i++) {
        cJSON *pod = parse(pods[i].pod);

        assert_int_equal(adopt_pod_decide(pod), pods[i].expected);
        cJSON_Delete(pod);
    }
}

/* In the spec of a pod whose containers mount "m", "taken", the longest names and a token. */
static const struct {
    const char *volume;
    enum adopt_volume expected;
} volumes[] = {
    {"{\"name\":\"m\",\"secret\":{}}", ADOPT_VOLUME},
    {"{\"name\":\"m\",\"configMap\":{}}", ADOPT_VOLUME},
    {"{\"name\":\"m\",\"downwardAPI\":{}}", ADOPT_VOLUME},
    {"{\"name\":\"m\",\"projected\":{\"sources\":[]}}", ADOPT_VOLUME},
    {"{\"name\":\"m\",\"projected\":{\"sources\":[{\"secret\":{}},{\"configMap\":{}},"
     "{\"downwardAPI\":{}},{\"serviceAccountToken\":{}},{\"clusterTrustBundle\":{}},"
     "{\"podCertificate\":{}}]}}",
     ADOPT_VOLUME},
    {"{\"name\":\"m\",\"projected\":{\"sources\":[{\"secret\":{}},{\"ofLater\":{}}]}}",
     ADOPT_VOLUME_SOURCES},
    {"{\"name\":\"m\",\"projected\":{}}", ADOPT_VOLUME_SOURCES},
    {"{\"name\":\"m\",\"projected\":{\"sources\":[{}]}}", ADOPT_VOLUME_SOURCES},
    {"{\"name\":\"m\",\"secret\":null}", ADOPT_VOLUME_OTHER_KIND},
    {"{\"name\":\"m\",\"emptyDir\":{}}", ADOPT_VOLUME_OTHER_KIND},
    {"{\"name\":\"m\",\"csi\":{\"driver\":\"csi.secretfs.io\"}}", ADOPT_VOLUME_SERVED},
    {"{\"name\":\"m\",\"csi\":{\"driver\":\"other\"}}", ADOPT_VOLUME_OTHER_KIND},
    {"{\"name\":\"init\",\"secret\":{}}", ADOPT_VOLUME},
    {"{\"name\":\"unmounted\",\"secret\":{}}", ADOPT_VOLUME_NOT_MOUNTED},
    {"{\"name\":\"taken\",\"secret\":{}}", ADOPT_VOLUME_NAME_TAKEN},
    {"{\"name\":\"" NAME_54 "\",\"secret\":{}}", ADOPT_VOLUME},
    {"{\"name\":\"" NAME_54 "n\",\"secret\":{}}", ADOPT_VOLUME_LONG_NAME},
    {"{\"name\":\"kube-api-access-x\",\"projected\":{\"sources\":[]}}", ADOPT_VOLUME_TOKEN},
};

#define SPEC                                                                                       \
    "{\"volumes\":[{\"name\":\"taken-secretfs\"},7,{}],"                                           \
    "\"containers\":[{\"volumeMounts\":[{\"name\":\"m\"},{\"name\":\"taken\"},{\"name\":3}]},{},"  \
    "{\"volumeMounts\":[{\"name\":\"" NAME_54 "\"},{\"name\":\"" NAME_54 "n\"},"                   \
    "{\"name\":\"kube-api-access-x\"}]}],"                                                         \
    "\"initContainers\":[{\"volumeMounts\":[{\"name\":\"init\"}]}],"                               \
    "\"ephemeralContainers\":[{\"volumeMounts\":[{\"name\":\"unmounted\"}]}]}"

static void test_volumes(void **state)
{
    cJSON *spec = parse(SPEC);
    struct adopt_names names;

    assert_int_equal(adopt_names_init(&names, spec), 0);
    for (size_t i = 0; i < ELEMENTS_OF(volumes); i++) {
        cJSON *volume = parse(volumes[i].volume);

        assert_int_equal(adopt_volume_decide(&names, volume, false), volumes[i].expected);
        cJSON_Delete(volume);
    }
    adopt_names_deinit(&names);
    cJSON_Delete(spec);
}

static void test_tokens(void **state)
{
    cJSON *volume = parse("{\"name\":\"kube-api-access-x\",\"projected\":{\"sources\":[]}}");
    cJSON *spec = parse(SPEC);
    struct adopt_names names;

    assert_int_equal(adopt_names_init(&names, spec), 0);
    assert_int_equal(adopt_volume_decide(&names, volume, true), ADOPT_VOLUME);
    adopt_names_deinit(&names);
    cJSON_Delete(spec);
    cJSON_Delete(volume);
}

static int try_names(void *userdata)
{
    struct adopt_names names;
    int r = adopt_names_init(&names, userdata);

    adopt_names_deinit(&names);
    return r;
}

static void test_out_of_memory(void **state)
{
    cJSON *spec = parse(SPEC);

    failmalloc_try(try_names, spec);
    cJSON_Delete(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pods),
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
