/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/static_volume.h"

#include "tests/unit/failmalloc.h"

static void test_all_fields(void **state)
{
    static const char text[] = "target: //run/app///db/\n"
                               "namespace: prod\n"
                               "source: {kubeconfig: /etc/k, context: c}\n"
                               "owner: {user: daemon, group: \"77\"}\n"
                               "onUpdate: reload-unit:app@1.service\n"
                               "volume:\n"
                               "  name: v\n"
                               "  secret: {secretName: db, defaultMode: 0400}\n";
    struct static_volume *v = NULL;
    struct error e = ERROR_INIT;

    if (static_volume_parse("10-db.prod.yaml", text, strlen(text), &v, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(v->name, "10-db.prod");
    assert_string_equal(v->text, text);
    assert_string_equal(v->target, "/run/app/db");
    assert_string_equal(v->namespace, "prod");
    assert_string_equal(v->kubeconfig, "/etc/k");
    assert_string_equal(v->context, "c");
    assert_null(v->manifests);
    assert_string_equal(v->action.unit, "app@1.service");
    assert_int_equal(v->spec->uid, 1);
    assert_int_equal(v->spec->gid, 77);
    assert_int_equal(v->spec->default_mode, 0400);
    assert_string_equal(v->spec->sources[0].name, "db");
    static_volume_unref(v);
}

static void test_minimal_file(void **state)
{
    static const char text[] =
        "{\"target\": \"/t\", \"volume\": {\"configMap\": {\"name\": \"a\"}}, "
        "\"source\": {\"manifests\": \"/m\"}, \"namespace\": null}";
    struct static_volume *v = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(static_volume_parse("a.yaml", text, strlen(text), &v, &e), 0);
    assert_string_equal(v->manifests, "/m");
    assert_null(v->namespace);
    assert_null(v->kubeconfig);
    assert_null(v->action.unit);
    assert_int_equal(v->spec->kind, VOLUME_CONFIGMAP);
    assert_int_equal(v->spec->uid, VOLUME_ID_UNSET);
    assert_int_equal(v->spec->gid, VOLUME_ID_UNSET);
    static_volume_unref(v);
    assert_null(static_volume_unref(NULL));
}

#define VOLUME "volume: {secret: {secretName: a}}"

static const struct {
    const char *text;
    const char *message;
} mistakes[] = {
    {"", "expected a mapping with target and volume"},
    {"- target: /a", "expected a mapping"},
    {"{a: b: c}", "line 1"},
    {"{target: /t}", "volume: required field is missing"},
    {"{" VOLUME "}", "target: required field is missing"},
    {"{target: t, " VOLUME "}", "target: \"t\" is not an absolute path"},
    {"{target: /, " VOLUME "}", "target: must not be the root"},
    {"{target: /a/../b, " VOLUME "}", "target: must not contain . or .."},
    {"{target: /a/./b, " VOLUME "}", "target: must not contain . or .."},
    {"{target: \"\", " VOLUME "}", "target: must not be empty"},
    {"{target: 5, " VOLUME "}", "target: expected a string"},
    {"{targets: /t, " VOLUME "}",
     "targets: unknown field, expected one of: target, namespace, source, owner, onUpdate, volume"},
    {"{target: /t, onUpdate: 'signal:HUP', " VOLUME "}",
     "onUpdate: invalid onUpdate \"signal:HUP\": use reload-unit:NAME.service"},
    {"{target: /t, onUpdate: 'reload-unit:a', " VOLUME "}", "onUpdate: invalid onUpdate"},
    {"{target: /t, onUpdate: 'exec:/bin/sh', " VOLUME "}", "onUpdate: invalid onUpdate"},
    {"{target: /t, onUpdate: 'exec:', " VOLUME "}", "onUpdate: invalid onUpdate"},
    {"{target: /t, onUpdate: 'reload-unit:a/b.service', " VOLUME "}", "onUpdate: invalid onUpdate"},
    {"{target: /t, onUpdate: 'reload-unit:.service', " VOLUME "}", "onUpdate: invalid onUpdate"},
    {"{target: /t, onUpdate: 5, " VOLUME "}", "onUpdate: expected a string"},
    {"{target: /t, volume: {secret: {secretName: a}, secretfs: {onUpdate: "
     "'reload-unit:a.service'}}}",
     "volume.secretfs.onUpdate: only in a volume of a pod"},
    {"{target: /t, namespace: A, " VOLUME "}", "namespace: invalid namespace \"A\""},
    {"{target: /t, source: x, " VOLUME "}", "source: expected a mapping"},
    {"{target: /t, source: {file: x}, " VOLUME "}",
     "source.file: unknown field, expected one of: kubeconfig, context, manifests"},
    {"{target: /t, source: {kubeconfig: x}, " VOLUME "}",
     "source.kubeconfig: \"x\" is not an absolute path"},
    {"{target: /t, source: {manifests: /m, context: c}, " VOLUME "}",
     "source.manifests: must not be set with kubeconfig or context"},
    {"{target: /t, owner: root, " VOLUME "}", "owner: expected a mapping"},
    {"{target: /t, owner: {uid: 1}, " VOLUME "}",
     "owner.uid: unknown field, expected one of: user, group"},
    {"{target: /t, owner: {user: no-such-user}, " VOLUME "}",
     "owner.user: unknown user \"no-such-user\" on this host"},
    {"{target: /t, owner: {group: no-such-group}, " VOLUME "}",
     "owner.group: unknown group \"no-such-group\""},
    {"{target: /t, owner: {user: -1}, " VOLUME "}", "owner.user: invalid user id"},
    {"{target: /t, owner: {user: 4294967295}, " VOLUME "}", "owner.user: invalid user id"},
    {"{target: /t, owner: {user: [1]}, " VOLUME "}", "owner.user: expected a name"},
    {"{target: /t, owner: {user: 1}, volume: {secret: {secretName: a}, secretfs: {uid: 2}}}",
     "owner.user: already set by volume.secretfs"},
    {"{target: /t, volume: x}", "volume: expected one entry of a pod's volumes"},
    {"{target: /t, volume: {secret: {}}}", "volume.secret.secretName: required field is missing"},
    {"{target: /t, volume: {emptyDir: {}}}", "volume.emptyDir: unsupported volume"},
    {"{target: /t, volume: {secret: {secretName: a}, secretfs: {tls: x}}}",
     "volume.secretfs.tls: invalid tls \"x\", expected one of: report, hold"},
};

static void test_invalid_files_name_the_field(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(mistakes); i++) {
        struct static_volume *v = NULL;
        struct error e = ERROR_INIT;
        int r = static_volume_parse("a.yaml", mistakes[i].text, strlen(mistakes[i].text), &v, &e);

        if (r != -EINVAL || strstr(e.text, mistakes[i].message) == NULL)
            fail_msg("\"%s\" gave %d, \"%s\" instead of \"%s\"", mistakes[i].text, r, e.text,
                     mistakes[i].message);
        assert_null(v);
    }
}

static void test_path_too_long(void **state)
{
    static char text[8192];
    struct static_volume *v = NULL;
    struct error e = ERROR_INIT;
    char *at = stpcpy(text, VOLUME "\ntarget: /");

    memset(at, 'x', 4096);
    assert_int_equal(static_volume_parse("a.yaml", text, strlen(text), &v, &e), -EINVAL);
    assert_non_null(strstr(e.text, "target: the path is too long"));
}

static int parse_everything(void *userdata)
{
    static const char text[] = "target: /t\nnamespace: prod\nsource: {kubeconfig: /k, context: c}\n"
                               "owner: {user: 1}\n" VOLUME "\n";
    struct static_volume *v = NULL;
    struct error e;
    int r = static_volume_parse("a.yaml", text, strlen(text), &v, &e);

    static_volume_unref(v);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(parse_everything, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_fields),
        cmocka_unit_test(test_minimal_file),
        cmocka_unit_test(test_invalid_files_name_the_field),
        cmocka_unit_test(test_path_too_long),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests_name("static_volume", tests, NULL, NULL);
}
