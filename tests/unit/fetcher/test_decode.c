/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "fetcher/decode.h"

#include "tests/unit/failmalloc.h"

#define SECRET    "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n"
#define CONFIGMAP "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app, namespace: shop}\n"

static const struct decode_expect anything;

static int decode(const char *yaml, const struct decode_expect *expect, struct object **ret_object,
                  struct error *e)
{
    cJSON *json = NULL;
    int r = yaml_parse_one(yaml, strlen(yaml), &json, e);

    if (r < 0)
        fail_msg("%s", e->text);
    r = decode_object(json, expect, ret_object, e);
    cJSON_Delete(json);
    return r;
}

static struct object *decode_good(const char *yaml, const struct decode_expect *expect)
{
    struct error e = ERROR_INIT;
    struct object *object = NULL;

    if (decode(yaml, expect, &object, &e) < 0)
        fail_msg("%s", e.text);
    return object;
}

static void expect_bad(const char *yaml, const struct decode_expect *expect, const char *message)
{
    struct error e = ERROR_INIT;
    struct object *object = NULL;

    assert_int_equal(decode(yaml, expect, &object, &e), -EINVAL);
    assert_null(object);
    if (strstr(e.text, message) == NULL || strstr(e.text, "DummySecret") != NULL)
        fail_msg("\"%s\" instead of \"%s\"", e.text, message);
}

static void check_value(const struct object *object, const char *key, const char *value, size_t len)
{
    const struct object_entry *entry = object_find(object, key);

    assert_non_null(entry);
    assert_int_equal(entry->len, len);
    assert_memory_equal(entry->bytes, value, len);
}

static void test_secret(void **state)
{
    struct object *o =
        decode_good(SECRET "data: {a: b25l, b: \"\", c: null, d: AAEC}\n", &anything);

    assert_int_equal(o->key.kind, OBJECT_SECRET);
    assert_string_equal(o->key.namespace, "shop");
    assert_string_equal(o->key.name, "db");
    assert_string_equal(o->type, "Opaque");
    assert_string_equal(o->uid, "");
    assert_string_equal(o->resource_version, "");
    assert_false(o->is_immutable);
    assert_int_equal(o->n_entries, 4);
    check_value(o, "a", "one", 3);
    check_value(o, "b", "", 0);
    check_value(o, "c", "", 0);
    check_value(o, "d", "\0\1\2", 3);
    object_unref(o);
}

/* L7 */
static void test_string_data_goes_over_data(void **state)
{
    struct object *o = decode_good(
        SECRET "stringData: {a: new, c: \"b25l\"}\ndata: {a: b2xk, b: b25l}\n", &anything);

    assert_int_equal(o->n_entries, 3);
    check_value(o, "a", "new", 3);
    check_value(o, "b", "one", 3);
    check_value(o, "c", "b25l", 4);
    object_unref(o);
}

/* As the API server's strict decoder, which kubectl asks for. */
static void test_unknown_fields_of_manifests(void **state)
{
    static const struct decode_expect strict = {.is_strict = true};
    static const struct {
        const char *yaml, *message;
    } bad[] = {
        {SECRET "stringdata: {a: b}\n", "stringdata: unknown field"},
        {SECRET "stringdata: {a: b}\n", "did you mean \"stringData\"?"},
        {SECRET "data: {a: b25l}\nsops: {mac: DummySecret}\n", "sops: unknown field"},
        {SECRET "binaryData: {a: b25l}\n", "binaryData: unknown field"},
        {CONFIGMAP "stringData: {a: b}\n", "stringData: unknown field"},
        {CONFIGMAP "type: Opaque\n", "type: unknown field"},
        {"apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop, label: {}}\n",
         "metadata.label: unknown field"},
    };

    object_unref(decode_good("apiVersion: v1\nkind: Secret\nimmutable: true\ntype: t\n"
                             "metadata: {name: db, namespace: shop, labels: {}, annotations: {},\n"
                             "           creationTimestamp: null, managedFields: []}\n"
                             "data: {}\nstringData: {}\n",
                             &strict));
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        expect_bad(bad[i].yaml, &strict, bad[i].message);
}

static void test_configmap(void **state)
{
    struct object *o = decode_good(CONFIGMAP "data: {a: b25l, b: null, both: text}\n"
                                             "binaryData: {c: b25l, both: b25l}\n"
                                             "immutable: true\ntype: ignored\n",
                                   &anything);

    assert_int_equal(o->key.kind, OBJECT_CONFIGMAP);
    assert_string_equal(o->type, "");
    assert_true(o->is_immutable);
    assert_int_equal(o->n_entries, 5);
    check_value(o, "a", "b25l", 4);
    check_value(o, "b", "", 0);
    check_value(o, "c", "one", 3);
    check_value(o, "both", "text", 4);
    assert_true(object_find(o, "c")->is_binary);
    assert_false(object_find(o, "a")->is_binary);
    object_unref(o);
}

/* As kubectl: !!binary is decoded first, and then data's own base64. */
static void test_binary_scalars(void **state)
{
    struct object *o = decode_good(CONFIGMAP "data: {a: !!binary b25l}\n"
                                             "binaryData: {b: !!binary YjI1bA==}\n",
                                   &anything);

    check_value(o, "a", "one", 3);
    check_value(o, "b", "one", 3);
    object_unref(o);
    o = decode_good(SECRET "stringData: {a: !!binary b25l}\ndata: {b: !!binary YjI1bA==}\n",
                    &anything);
    check_value(o, "a", "one", 3);
    check_value(o, "b", "one", 3);
    object_unref(o);
    expect_bad(SECRET "data: {b: !!binary b25l}\n", &anything, "not valid base64");
}

static void decode_json(const char *text, const char *message)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    assert_int_equal(json_parse_with_nul(text, strlen(text), &json, NULL), 0);
    if (message == NULL) {
        assert_int_equal(decode_object(json, &anything, &o, NULL), 0);
        check_value(o, "a", "x\0y", 3);
        check_value(o, "b", "\0", 1);
        object_unref(o);
    } else {
        assert_int_equal(decode_object(json, &anything, &o, &e), -EINVAL);
        assert_non_null(strstr(e.text, message));
    }
    cJSON_Delete(json);
}

#define JSON_CONFIGMAP                                                                             \
    "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"namespace\":\"s\","

/* `kubectl create configmap --from-file` makes such a value. Names and keys have no NUL. */
static void test_nul_in_strings(void **state)
{
    decode_json(JSON_CONFIGMAP "\"name\":\"a\",\"annotations\":{\"x\":\"\\u0000\"}},"
                               "\"data\":{\"a\":\"x\\u0000y\",\"b\":\"\\u0000\"}}",
                NULL);
    decode_json(JSON_CONFIGMAP "\"name\":\"a\\u0000\"}}", "\"name\" contains a NUL character");
    decode_json(JSON_CONFIGMAP "\"name\":\"a\",\"uid\":\"\\u0000\"}}",
                "\"uid\" contains a NUL character");
    decode_json(JSON_CONFIGMAP "\"name\":\"a\"},\"data\":{\"a\\u0000b\":\"x\"}}",
                "is not a valid key");
}

static void test_metadata(void **state)
{
    const enum object_kind kind = OBJECT_SECRET;
    const struct decode_expect item = {.kind = &kind, .default_namespace = "other"};
    const struct decode_expect numbered = {.default_namespace = "other", .resource_version = "42"};
    const char *full = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\n"
                       "metadata: {name: db, uid: u-1, resourceVersion: \"7\", unknown: [1]}\n";
    struct object *o = decode_good(full, &item);

    assert_string_equal(o->key.namespace, "other");
    assert_string_equal(o->uid, "u-1");
    assert_string_equal(o->resource_version, "7");
    assert_string_equal(o->type, "kubernetes.io/tls");
    object_unref(o);
    o = decode_good(full, &numbered);
    assert_string_equal(o->resource_version, "42");
    object_unref(o);
    /* as an item of a list */
    o = decode_good(
        "{metadata: {name: db, namespace: shop}, data: null, type: null, immutable: null}", &item);
    assert_string_equal(o->key.namespace, "shop");
    assert_string_equal(o->type, "Opaque");
    assert_int_equal(o->n_entries, 0);
    object_unref(o);
}

static void test_what_it_is_not(void **state)
{
    const enum object_kind kind = OBJECT_CONFIGMAP;
    const struct decode_expect configmap = {.kind = &kind};

    expect_bad("{}", &anything, "is (no apiVersion) (no kind), expected v1 Secret or ConfigMap");
    expect_bad("[]", &anything, "expected v1 Secret");
    expect_bad("DummySecret", &anything, "expected v1 Secret");
    expect_bad("{apiVersion: v2, kind: Secret}", &anything, "is v2 Secret, expected");
    expect_bad("{apiVersion: 1, kind: Secret}", &anything, "is (no apiVersion)");
    expect_bad("{apiVersion: v1, kind: Pod}", &anything, "is v1 Pod, expected");
    expect_bad(SECRET, &configmap, "is v1 Secret, expected v1 ConfigMap");
}

static void test_bad_members(void **state)
{
    expect_bad("{apiVersion: v1, kind: Secret}", &anything, "metadata.name is missing");
    expect_bad("{apiVersion: v1, kind: Secret, metadata: {name: a}}", &anything,
               "metadata.namespace is missing");
    expect_bad("{apiVersion: v1, kind: Secret, metadata: {name: 1}}", &anything,
               "metadata: \"name\" has to be a string");
    expect_bad("{apiVersion: v1, kind: Secret, metadata: {name: A_b}}", &anything,
               "metadata.name \"A_b\" is invalid");
    expect_bad("{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: a.b}}", &anything,
               "metadata.namespace \"a.b\" is invalid");
    expect_bad(SECRET "immutable: \"true\"", &anything, "\"immutable\" has to be");
    expect_bad(SECRET "type: [DummySecret]", &anything, "\"type\" has to be a string");
    expect_bad(SECRET "data: [DummySecret]", &anything, "\"data\" has to be a mapping");
    expect_bad(SECRET "data: DummySecret", &anything, "\"data\" has to be a mapping");
}

static void test_bad_values(void **state)
{
    expect_bad(CONFIGMAP "data: {port: 8080}", &anything,
               "the value of key \"port\" in data is a number, not a string: put it into quotes");
    expect_bad(CONFIGMAP "data: {debug: yes}", &anything, "is true or false, not a string");
    expect_bad(CONFIGMAP "data: {a: [DummySecret]}", &anything, "is a list or a mapping");
    expect_bad(SECRET "stringData: {a: {b: DummySecret}}", &anything, "in stringData is a list");
    expect_bad(SECRET "data: {a: 1234}", &anything, "is a number, not a string: give it in base64");
    expect_bad(SECRET "data: {a: DummySecret}", &anything, "key \"a\" is not valid base64");
    expect_bad(CONFIGMAP "binaryData: {a: DummySecret}", &anything, "\"a\" is not valid base64");
    expect_bad(SECRET "stringData: {../x: DummySecret}", &anything, "is not a valid key");
}

static void test_key_alone(void **state)
{
    const struct decode_expect expect = {.default_namespace = "other"};
    const char *bad_data =
        "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"a\"},"
        "\"data\":7}";
    struct object_key key = {.name = NULL};
    cJSON *json = NULL;

    assert_int_equal(json_parse(bad_data, strlen(bad_data), &json, NULL), 0);
    assert_int_equal(decode_key(json, &expect, &key, NULL), 0);
    assert_string_equal(key.name, "a");
    assert_string_equal(key.namespace, "other");
    cJSON_Delete(json);
    json = cJSON_CreateObject();
    assert_int_equal(decode_key(json, &expect, &key, NULL), DECODE_OTHER_KIND);
    cJSON_Delete(json);
}

static int try_decode(void *userdata)
{
    struct object *object = NULL;
    int r = decode_object(userdata, &anything, &object, NULL);

    object_unref(object);
    return r;
}

static void test_without_memory(void **state)
{
    const char text[] = SECRET "data: {a: b25l}\nstringData: {b: x}\n";
    cJSON *json = NULL;

    assert_int_equal(yaml_parse_one(text, strlen(text), &json, NULL), 0);
    failmalloc_try(try_decode, json);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_string_data_goes_over_data),
        cmocka_unit_test(test_unknown_fields_of_manifests),
        cmocka_unit_test(test_configmap),
        cmocka_unit_test(test_binary_scalars),
        cmocka_unit_test(test_nul_in_strings),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_what_it_is_not),
        cmocka_unit_test(test_bad_members),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_key_alone),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
