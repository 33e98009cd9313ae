/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/env_spec.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "encoding/json.h"
#include "encoding/yaml.h"
#include "tests/unit/failmalloc.h"

static void key_on_the_command_line(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    assert_int_equal(env_spec_add_key(&spec, "PW=secret/db/pass.word", false, &e), 0);
    assert_int_equal(env_spec_add_key(&spec, "C=cm/app/k", true, &e), 0);
    assert_int_equal(spec.n_sources, 2);
    assert_int_equal(spec.sources[0].kind, ENV_KEY);
    assert_int_equal(spec.sources[0].object_kind, OBJECT_SECRET);
    assert_string_equal(spec.sources[0].name, "PW");
    assert_string_equal(spec.sources[0].object_name, "db");
    assert_string_equal(spec.sources[0].key, "pass.word");
    assert_false(spec.sources[0].is_optional);
    assert_int_equal(spec.sources[1].object_kind, OBJECT_CONFIGMAP);
    assert_true(spec.sources[1].is_optional);
}

static void object_on_the_command_line(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    assert_int_equal(env_spec_add_object(&spec, "secret/db", true, &e), 0);
    assert_int_equal(env_spec_add_object(&spec, "configmap/app:APP_", false, &e), 0);
    assert_int_equal(spec.sources[0].kind, ENV_OBJECT);
    assert_string_equal(spec.sources[0].object_name, "db");
    assert_string_equal(spec.sources[0].name, "");
    assert_true(spec.sources[0].is_optional);
    assert_string_equal(spec.sources[1].object_name, "app");
    assert_string_equal(spec.sources[1].name, "APP_");
}

typedef int add_fn(struct env_spec *spec, const char *text, bool is_optional, struct error *e);

static void errors_on_the_command_line_are_named(void **state)
{
    static const struct {
        add_fn *add;
        const char *text;
        const char *message;
    } cases[] = {
        {env_spec_add_key, "PW", "\"PW\" does not name the key of an object"},
        {env_spec_add_key, "PW=dummy", "\"PW\" does not name the key of an object"},
        {env_spec_add_key, "PW=secret/db", "use VAR=secret/NAME/KEY"},
        {env_spec_add_key, "PW=secret/db/", "the key of secret \"db\" is missing"},
        {env_spec_add_key, "9=secret/db/k", "\"9\" is not a valid name for a variable"},
        {env_spec_add_key, "=secret/db/k", "\"\" is not a valid name for a variable"},
        {env_spec_add_object, "secret/db:1", "\"1\" is not a valid prefix"},
        {env_spec_add_key, "PW=secret/D_B/k", "\"D_B\" is not a valid name for a secret"},
        {env_spec_add_key, "PW=secret/db/a/b", "\"a/b\" is not a valid key of a secret"},
        {env_spec_add_object, "db", "invalid object \"db\""},
        {env_spec_add_object, "cm/", "\"\" is not a valid name for a configmap"},
        {env_spec_add_object, "secret/db/key", "\"db/key\" is not a valid name for a secret"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(env_spec_deinit) struct env_spec spec = {.names = ENV_NAMES_STRICT};
        struct error e = ERROR_INIT;

        if (cases[i].add(&spec, cases[i].text, false, &e) != -EINVAL ||
            strstr(e.text, cases[i].message) == NULL || strstr(e.text, "dummy") != NULL)
            fail_msg("%s: %s", cases[i].text, e.text);
    }
}

static int parse(const char *yaml, struct env_spec *spec, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *document = NULL;
    int r;

    *e = ERROR_INIT;
    r = yaml_parse_one(yaml, strlen(yaml), &document, e);
    return r < 0 ? r : env_spec_add_document(spec, document, e);
}

static void container_lists_are_read(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    assert_int_equal(parse("env:\n"
                           "- name: A\n"
                           "  value: $(B)\n"
                           "- name: P\n"
                           "  value: ''\n"
                           "  valueFrom:\n"
                           "    secretKeyRef: {name: db, key: password, optional: true}\n"
                           "envFrom:\n"
                           "- prefix: X_\n"
                           "  configMapRef: {name: app, optional: null}\n",
                           &spec, &e),
                     0);
    assert_int_equal(spec.n_sources, 3);
    assert_int_equal(spec.sources[0].kind, ENV_OBJECT);
    assert_string_equal(spec.sources[0].name, "X_");
    assert_false(spec.sources[0].is_optional);
    assert_int_equal(spec.sources[1].kind, ENV_LITERAL);
    assert_string_equal(spec.sources[1].value, "$(B)");
    assert_int_equal(spec.sources[2].kind, ENV_KEY);
    assert_string_equal(spec.sources[2].key, "password");
    assert_true(spec.sources[2].is_optional);
}

#define FROM(text) "env: [{name: A, valueFrom: {" text "}}]"

static void errors_in_lists_are_named(void **state)
{
    static const struct {
        const char *yaml;
        const char *message;
    } cases[] = {
        {"[]", "expected a mapping"},
        {"image: x", "image: unknown field, expected one of: env, envFrom"},
        {"env: {A: dummy}", "env: expected a list"},
        {"env: [dummy]", "env[0]: expected a mapping"},
        {"env: [{value: dummy}]", "env[0]: name: required field is missing"},
        {"env: [{name: A, valu: dummy}]",
         "env[0] (A): valu: unknown field, expected one of: name, value"},
        {"env: [{name: A}, {name: B, value: 5}]", "env[1] (B): value: expected a string: put it"},
        {"env: [{name: A, value: dummy, valueFrom: {}}]", "value conflicts with valueFrom"},
        {FROM(""), "env[0] (A): valueFrom: expected one of: secretKeyRef, configMapKeyRef"},
        {FROM("fieldRef: {fieldPath: metadata.name}"), "valueFrom: fieldRef is not supported"},
        {FROM("resourceFieldRef: {resource: limits.cpu}"), "resourceFieldRef is not supported"},
        {FROM("fileKeyRef: {}"), "valueFrom.fileKeyRef.volumeName: required field is missing"},
        {FROM("fileKeyRef: {volumeName: v, key: K}"), "fileKeyRef.path: required field is missing"},
        {FROM("fileKeyRef: {volumeName: v, path: '', key: K}"),
         "fileKeyRef.path: required field is missing"},
        {FROM("fileKeyRef: {volumeName: v, path: a}"), "fileKeyRef.key: required field is missing"},
        {FROM("fileKeyRef: {volumeName: w, path: a, key: K}"),
         "volumeName: no directory for the volume \"w\": add --env-volume w=DIRECTORY"},
        {FROM("fileKeyRef: {volumeName: v, path: a, key: K=}"),
         "key: \"K=\" is not a valid name for a variable"},
        {FROM("fileKeyRef: {volumeName: v, path: a/../b, key: K}"), "\"a/../b\" has \"..\" in it"},
        {FROM("fileKeyRef: {volumeName: v, path: .., key: K}"), "path: \"..\" has"},
        {FROM("fileKeyRef: {volumeName: v, path: a, key: K, mode: 1}"), "mode: unknown field"},
        {FROM("secretKeyRef: {name: a, key: k}, fileKeyRef: {volumeName: v, path: a, key: K}"),
         "valueFrom: fileKeyRef conflicts with another reference"},
        {FROM("vaultRef: {}"), "valueFrom.vaultRef: unknown field"},
        {FROM("secretKeyRef: {key: k}"), "valueFrom.secretKeyRef.name: required field is missing"},
        {FROM("secretKeyRef: {name: db}"), "valueFrom.secretKeyRef.key: required field is missing"},
        {FROM("secretKeyRef: {name: db, key: ''}"), "the key of secret \"db\" is missing"},
        {FROM("secretKeyRef: {name: D_B, key: k}"), "\"D_B\" is not a valid name for a secret"},
        {FROM("secretKeyRef: {name: db, key: ..k}"), "\"..k\" is not a valid key of a secret"},
        {FROM("configMapKeyRef: {name: c, key: a b}"), "\"a b\" is not a valid key of a configmap"},
        {FROM("configMapKeyRef: {name: db, key: k, optional: 1}"),
         "optional: expected true or false"},
        {FROM("secretKeyRef: {name: a, key: k}, configMapKeyRef: {name: a, key: k}"),
         "valueFrom: expected one of: "},
        {"envFrom: [{prefix: A}]", "envFrom[0]: expected one of: secretRef, configMapRef"},
        {"envFrom: [{prefix: 1, secretRef: {name: a}}]", "prefix: expected a string"},
        {"envFrom: [{secretRef: {name: a, key: k}}]", "secretRef.key: unknown field"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
        struct error e;

        assert_int_equal(env_spec_add_volume(&spec, "v=/directory", &e), 0);
        if (parse(cases[i].yaml, &spec, &e) != -EINVAL ||
            strstr(e.text, cases[i].message) == NULL || strstr(e.text, "dummy") != NULL)
            fail_msg("%s: %s", cases[i].yaml, e.text);
    }
}

/* Y35 */
static void volumes_have_directories(void **state)
{
    static const struct {
        const char *text;
        const char *message; /* NULL: it is added */
    } cases[] = {
        {"config=/a=b", NULL},
        {"other=dir", NULL},
        {"config=/c", "volume \"config\" has a directory already"},
        {"config", "invalid volume \"config\": use NAME=DIRECTORY"},
        {"config=", "use NAME=DIRECTORY"},
        {"=/a", "use NAME=DIRECTORY"},
    };
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        if (env_spec_add_volume(&spec, cases[i].text, &e) !=
                (cases[i].message != NULL ? -EINVAL : 0) ||
            (cases[i].message != NULL && strstr(e.text, cases[i].message) == NULL))
            fail_msg("%s: %s", cases[i].text, e.text);
    assert_int_equal(
        parse(FROM("fileKeyRef: {volumeName: config, path: /x/..y, key: K.1}"), &spec, &e), 0);
    assert_int_equal(spec.sources[0].kind, ENV_FILE);
    assert_string_equal(spec.sources[0].directory, "/a=b");
    assert_string_equal(spec.sources[0].path, "/x/..y");
    assert_string_equal(spec.sources[0].key, "K.1");
    assert_false(spec.sources[0].is_optional);
}

static void volumes_are_limited(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    char text[32];
    struct error e;

    for (int i = 0; i < ENV_SPEC_MAX_VOLUMES; i++) {
        snprintf(text, sizeof(text), "v%d=/d", i);
        assert_int_equal(env_spec_add_volume(&spec, text, &e), 0);
    }
    assert_int_equal(env_spec_add_volume(&spec, "more=/d", &e), -E2BIG);
}

static void file_is_named(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    assert_int_equal(env_spec_add_file(&spec, "/no/such/file", &e), -ENOENT);
    assert_non_null(strstr(e.text, "cannot read /no/such/file"));
    assert_int_equal(env_spec_add_file(&spec, "/dev/null", &e), -EINVAL);
    assert_non_null(strstr(e.text, "/dev/null: expected a mapping"));
}

/* O3, O4 */
static void names_are_checked(void **state)
{
    static const struct {
        const char *name;
        bool is_strict, is_any;
    } cases[] = {
        {"A", true, true},      {"a_B-c.d9", true, true},   {"-", true, true},
        {".a", true, true},     {"_", true, true},          {"", false, false},
        {"9", false, true},     {".", false, true},         {"..", false, true},
        {"..a", false, true},   {"a b", false, true},       {"a=b", false, false},
        {"a\tb", false, false}, {"\303\244", false, false}, {"a/b", false, true},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        if (env_name_is_valid(cases[i].name, ENV_NAMES_STRICT) != cases[i].is_strict ||
            env_name_is_valid(cases[i].name, ENV_NAMES_RELAXED) != cases[i].is_any)
            fail_msg("\"%s\"", cases[i].name);
}

static void names_in_the_spec_are_checked(void **state)
{
    static const struct {
        const char *yaml;
        enum env_names names;
        const char *message; /* NULL: they are fine */
    } cases[] = {
        {"envFrom: [{secretRef: {name: a}}]", ENV_NAMES_STRICT, NULL},
        {"env: [{name: 9A}]", ENV_NAMES_STRICT,
         "env[0] (9A): \"9A\" is not a valid name for a variable: use letters"},
        {"env: [{name: 9A}]", ENV_NAMES_RELAXED, NULL},
        {"env: [{name: A=B}]", ENV_NAMES_STRICT, "\"A=B\" is not a valid name for a variable"},
        {"env: [{name: A=B}]", ENV_NAMES_RELAXED, "\"A=B\" is not a valid name for a variable"},
        {"env: [{name: ''}]", ENV_NAMES_RELAXED, "\"\" is not a valid name for a variable"},
        {"envFrom: [{prefix: '1', secretRef: {name: a}}]", ENV_NAMES_STRICT,
         "\"1\" is not a valid prefix"},
        {"envFrom: [{prefix: '=', secretRef: {name: a}}]", ENV_NAMES_RELAXED,
         "\"=\" is not a valid prefix"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(env_spec_deinit) struct env_spec spec = {.names = cases[i].names};
        struct error e;
        int r;

        r = parse(cases[i].yaml, &spec, &e);
        if (r != (cases[i].message == NULL ? 0 : -EINVAL) ||
            (r < 0 && strstr(e.text, cases[i].message) == NULL))
            fail_msg("%s: %s", cases[i].yaml, e.text);
    }
}

static void number_is_limited(void **state)
{
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e;

    for (int i = 0; i < ENV_SPEC_MAX_SOURCES; i++)
        assert_int_equal(env_spec_add_object(&spec, "cm/a", false, &e), 0);
    assert_int_equal(env_spec_add_object(&spec, "cm/a", false, &e), -E2BIG);
}

static int add_all(void *userdata)
{
    static const char yaml[] = "env: [{name: A, value: x}, {name: B, valueFrom: {secretKeyRef: "
                               "{name: db, key: k}}}]\nenvFrom: [{prefix: P_, configMapRef: {name: "
                               "app}}]";
    _cleanup_(env_spec_deinit) struct env_spec spec = {.sources = NULL};
    struct error e = ERROR_INIT;
    int r = env_spec_add_key(&spec, "A=secret/db/k", false, &e);

    if (r == 0)
        r = env_spec_add_volume(&spec, "config=/v", &e);
    if (r == 0)
        r = env_spec_add_object(&spec, "configmap/app:P_", true, &e);
    return r == 0 ? parse(yaml, &spec, &e) : r;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(add_all, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_on_the_command_line),
        cmocka_unit_test(object_on_the_command_line),
        cmocka_unit_test(errors_on_the_command_line_are_named),
        cmocka_unit_test(container_lists_are_read),
        cmocka_unit_test(errors_in_lists_are_named),
        cmocka_unit_test(volumes_have_directories),
        cmocka_unit_test(volumes_are_limited),
        cmocka_unit_test(file_is_named),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(names_in_the_spec_are_checked),
        cmocka_unit_test(number_is_limited),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests_name("env_spec", tests, NULL, NULL);
}
