/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/manifests/server_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/decode.h"

#define SECRET(type)                                                                               \
    "{apiVersion: v1, kind: Secret, type: kubernetes.io/" type ", metadata: {name: a, namespace: " \
    "b"
#define CONFIGMAP "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b"

static const struct {
    const char *yaml;
    const char *message; /* NULL: the API server takes it */
} cases[] = {
    {"{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: b}}", NULL},
    {SECRET("other") "}}", NULL},
    {SECRET("tls") "}}", NULL}, /* volumes report these */
    {SECRET("basic-auth") "}}", "kubernetes.io/basic-auth requires the key username or password"},
    {SECRET("basic-auth") "}, stringData: {password: ''}}", NULL},
    {SECRET("ssh-auth") "}}", "requires the key ssh-privatekey"},
    {SECRET("ssh-auth") "}, stringData: {ssh-privatekey: ''}}", "requires the key ssh-privatekey"},
    {SECRET("ssh-auth") "}, stringData: {ssh-privatekey: dummy}}", NULL},
    {SECRET("dockercfg") "}}", "requires the key .dockercfg"},
    {SECRET("dockercfg") "}, stringData: {.dockercfg: dummy}}", "JSON in the key .dockercfg"},
    {SECRET("dockerconfigjson") "}, stringData: {.dockerconfigjson: '[]'}}", "requires JSON"},
    {SECRET("dockerconfigjson") "}, stringData: {.dockerconfigjson: '{\"auths\": {}}'}}", NULL},
    {SECRET("service-account-token") "}}", "requires the annotation kubernetes.io/service-account"},
    {SECRET("service-account-token") ", annotations: {kubernetes.io/service-account.name: x}}}",
     NULL},
    {CONFIGMAP "}, data: {k: x}, binaryData: {k: eA==}}", "the key k is in data and in binaryData"},
    {CONFIGMAP "}, data: {k: x}, binaryData: {l: eA==}}", NULL},
};

static void test_what_the_server_checks(void **state)
{
    static const struct decode_expect anything;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct error e = ERROR_INIT;
        struct object *object = NULL;
        cJSON *json = NULL;
        int r;

        assert_int_equal(yaml_parse_one(cases[i].yaml, strlen(cases[i].yaml), &json, NULL), 0);
        assert_int_equal(decode_object(json, &anything, &object, NULL), 0);
        r = server_check(json, object, &e);
        if ((r < 0) != (cases[i].message != NULL) ||
            (r < 0 && strstr(e.text, cases[i].message) == NULL) || strstr(e.text, "dummy") != NULL)
            fail_msg("%s: %d %s", cases[i].yaml, r, e.text);
        object_unref(object);
        cJSON_Delete(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_server_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
