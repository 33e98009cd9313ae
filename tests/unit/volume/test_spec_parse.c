/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "volume/spec_parse.h"

#include "tests/unit/failmalloc.h"

static struct volume_spec *parse(const char *text)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    if (volume_spec_parse(text, strlen(text), &spec, &e) != 0)
        fail_msg("\"%s\": %s", text, e.text);
    return spec;
}

static void secret_volume(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse("name: certs\n"
              "secret:\n"
              "  secretName: web.tls\n"
              "  defaultMode: 0400\n"
              "  optional: true\n"
              "  items:\n"
              "  - {key: tls.crt, path: pki/cert.pem}\n"
              "  - {key: tls.key, path: pki/key.pem, mode: 0o440, uid: 100, gid: 200}\n"
              "secretfs: {uid: 1, gid: 2, fsGroup: 3, type: tls, tls: hold, "
              "updates: in-place, onRevoked: remove}\n");
    const struct volume_item *items = spec->sources[0].items;

    assert_int_equal(spec->kind, VOLUME_SECRET);
    assert_string_equal(spec->name, "certs");
    assert_int_equal(spec->n_sources, 1);
    assert_string_equal(spec->sources[0].name, "web.tls");
    assert_true(spec->sources[0].is_optional);
    assert_int_equal(spec->default_mode, 0400);
    assert_int_equal(spec->sources[0].n_items, 2);
    assert_string_equal(items[0].key, "tls.crt");
    assert_string_equal(items[0].path, "pki/cert.pem");
    assert_int_equal(items[0].mode, VOLUME_MODE_UNSET);
    assert_int_equal(items[0].uid, VOLUME_ID_UNSET);
    assert_int_equal(items[1].mode, 0440);
    assert_int_equal(items[1].uid, 100);
    assert_int_equal(items[1].gid, 200);
    assert_int_equal(spec->uid, 1);
    assert_int_equal(spec->gid, 2);
    assert_int_equal(spec->fs_group, 3);
    assert_string_equal(spec->type, "kubernetes.io/tls");
    assert_true(spec->holds_tls);
    assert_int_equal(spec->updates, VOLUME_UPDATES_IN_PLACE);
    assert_true(spec->removes_revoked);
}

/* The same as JSON, where a mode can be decimal only; nulls are absent; defaults (B4). */
static void configmap_volume_in_json(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse("[{\"name\": \"v\", \"secret\": null, \"configMap\": {\"name\": \"app\", \"items\": "
              "[{\"key\": \"k\", \"path\": \"p\", \"mode\": 256}], \"defaultMode\": null}}]");

    assert_int_equal(spec->kind, VOLUME_CONFIGMAP);
    assert_int_equal(spec->sources[0].kind, OBJECT_CONFIGMAP);
    assert_false(spec->sources[0].is_optional);
    assert_int_equal(spec->sources[0].items[0].mode, 0400);
    assert_int_equal(spec->default_mode, 0644);
    assert_int_equal(spec->uid, VOLUME_ID_UNSET);
    assert_int_equal(spec->fs_group, VOLUME_ID_UNSET);
    assert_null(spec->type);
    assert_false(spec->holds_tls);
    assert_int_equal(spec->updates, VOLUME_UPDATES_GENERATIONS);
    assert_false(spec->removes_revoked);
}

/* Default values can be written, too. */
static void own_options_have_defaults(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = parse(
        "{configMap: {name: c}, secretfs: {tls: report, updates: generations, onRevoked: keep}}");

    assert_false(spec->holds_tls || spec->removes_revoked);
    assert_int_equal(spec->updates, VOLUME_UPDATES_GENERATIONS);
}

/* N1, N3, N6 */
static void projected_volume(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse("projected:\n"
              "  defaultMode: 0440\n"
              "  sources:\n"
              "  - secret: {name: a, items: [{key: k, path: x}]}\n"
              "  - configMap: {name: b, optional: true}\n"
              "  - secret: {name: a, items: [{key: k, path: ./x}]}\n");
    char text[VOLUME_TEXT_SIZE];

    assert_int_equal(spec->kind, VOLUME_PROJECTED);
    assert_int_equal(spec->n_sources, 3);
    assert_int_equal(spec->sources[0].kind, OBJECT_SECRET);
    assert_int_equal(spec->sources[1].kind, OBJECT_CONFIGMAP);
    assert_true(spec->sources[1].is_optional);
    assert_int_equal(spec->default_mode, 0440);
    assert_string_equal(volume_spec_text(spec, text), "projected");
}

#define BUNDLE(words) "{projected: {sources: [{clusterTrustBundle: {" words "}}]}}"

/* Y15, Y17 */
static void trust_bundles(void **state)
{
    static const struct {
        const char *words;
        const char *name;
        const char *detail;
        bool is_optional;
    } bundles[] = {
        {"name: one, path: p", "one", NULL, false},
        {"name: 'example.com:a:one', path: p, optional: true", "example.com:a:one", NULL, true},
        {"signerName: example.com/a, path: p", "example.com/a", "labels:none,!none", false},
        {"signerName: example.com/a, labelSelector: {}, path: p", "example.com/a",
         "labels:", false},
        {"signerName: example.com/a, labelSelector: {matchLabels: {live: 'yes'}}, path: p",
         "example.com/a", "labels:live=yes", false},
    };

    for (size_t i = 0; i < ELEMENTS_OF(bundles); i++) {
        char text[256];
        struct volume_spec *spec;

        snprintf(text, sizeof(text), BUNDLE("%s"), bundles[i].words);
        spec = parse(text);
        assert_int_equal(spec->sources[0].kind, OBJECT_CLUSTER_TRUST_BUNDLE);
        assert_string_equal(spec->sources[0].name, bundles[i].name);
        if (bundles[i].detail == NULL)
            assert_null(spec->sources[0].detail);
        else
            assert_string_equal(spec->sources[0].detail, bundles[i].detail);
        assert_int_equal(spec->sources[0].is_optional, bundles[i].is_optional);
        assert_string_equal(spec->sources[0].items[0].path, "p");
        volume_spec_free(spec);
    }
}

static const struct {
    const char *text;
    const char *message;
} mistakes[] = {
    {"", "one entry of a pod's volumes"},
    {"just text", "one entry of a pod's volumes"},
    {"[{}, {}]", "one entry of a pod's volumes"},
    {"{name: v}", "expected one of: secret, configMap, projected"},
    {"{secret: {secretName: a}, configMap: {name: b}}",
     "configMap: conflicts with secret: only one of them is allowed"},
    {"{emptyDir: {}}", "emptyDir: unsupported volume, expected one of: secret"},
    {"{downwardAPI: {items: []}}", "downwardAPI: unsupported volume, expected one of: secret"},
    {"{name: A_B, secret: {secretName: a}}", "name: \"A_B\" is not a valid name for a volume"},
    {"{secret: {}}", "secret.secretName: required field is missing"},
    {"{secret: {secretName: \"\"}}", "secret.secretName: required field is missing"},
    {"{secret: {secretName: 5}}", "secret.secretName: expected a string"},
    {"{secret: {secretName: A_B}}", "secret.secretName: \"A_B\" is not a valid name for a secret"},
    {"{secret: {name: a}}", "secret.name: unknown field, expected one of: secretName, items"},
    {"{secret: {secretname: a}}", "secret.secretname: unknown field"},
    {"{secret: [a]}", "secret: expected a mapping"},
    {"{configMap: {secretName: a}}", "configMap.secretName: unknown field"},
    {"{configMap: {name: a, optional: \"yes\"}}", "configMap.optional: expected true or false"},
    {"{secret: {secretName: a, defaultMode: 01000}}",
     "secret.defaultMode: invalid mode: use 0 to 0777"},
    {"{secret: {secretName: a, defaultMode: 512}}", "secret.defaultMode: invalid mode: use"},
    {"{secret: {secretName: a, defaultMode: 644}}", "secret.defaultMode: invalid mode: use"},
    {"{secret: {secretName: a, defaultMode: -1}}", "secret.defaultMode: invalid mode: use"},
    {"{secret: {secretName: a, defaultMode: 4.5}}", "secret.defaultMode: invalid mode: use"},
    {"{secret: {secretName: a, defaultMode: \"0644\"}}",
     "secret.defaultMode: expected a number, without quotes"},
    {"{secret: {secretName: a, items: {}}}", "secret.items: expected a list"},
    {"{secret: {secretName: a, items: [x]}}", "secret.items[0]: expected a mapping"},
    {"{secret: {secretName: a, items: [{path: x}]}}",
     "secret.items[0].key: required field is missing"},
    {"{secret: {secretName: a, items: [{key: x}]}}",
     "secret.items[0].path: required field is missing"},
    {"{secret: {secretName: a, items: [{key: k, path: p, modes: 1}]}}",
     "secret.items[0].modes: unknown field"},
    {"{secret: {secretName: a, items: [{key: k, path: p}, {key: k, path: /p}]}}",
     "secret.items[1].path: invalid path \"/p\": it is absolute"},
    {"{secret: {secretName: a, items: [{key: k, path: a/../b}]}}", "\"..\" is not allowed"},
    {"{secret: {secretName: a, items: [{key: k, path: ..b}]}}", "are reserved"},
    {"{secret: {secretName: a, items: [{key: k, path: ./..data}]}}", "are reserved"},
    {"{secret: {secretName: a, items: [{key: k, path: p, mode: 01777}]}}",
     "secret.items[0].mode: invalid mode: use"},
    {"{secret: {secretName: a, items: [{key: k, path: p, uid: -1}]}}",
     "secret.items[0].uid: expected a whole number from 0 to 4294967294"},
    {"{projected: {sources: {}}}", "projected.sources: expected a list"},
    {"{name: 5, secret: {secretName: a}}", "name: expected a string"},
    {"{projected: {sources: [x]}}", "projected.sources[0]: expected a mapping"},
    {"{projected: {sources: [null]}}", "projected.sources[0]: expected a mapping"},
    {"{projected: {sources: [{}]}}", "projected.sources[0]: expected one of: secret, configMap"},
    {"{projected: {sources: [{secret: {name: a}, configMap: {name: b}}]}}",
     "projected.sources[0].configMap: conflicts with secret"},
    {"{projected: {sources: [{secret: {name: a}}, {serviceAccountToken: {path: t}}]}}",
     "projected.sources[1].serviceAccountToken: unsupported source, expected one of: secret, "
     "configMap, clusterTrustBundle"}, /* N7 */
    {"{projected: {sources: [{downwardAPI: {}}]}}",
     "projected.sources[0].downwardAPI: unsupported source"},
    {BUNDLE("path: p"), "sources[0].clusterTrustBundle: expected one of: name, signerName"},
    {BUNDLE("name: a"), "clusterTrustBundle.path: required field is missing"},
    {BUNDLE("name: a, signerName: b.c/d, path: p"),
     "clusterTrustBundle.signerName: conflicts with name"},
    {BUNDLE("name: a, labelSelector: {}, path: p"),
     "clusterTrustBundle.labelSelector: allowed with signerName only"},
    {BUNDLE("name: 'a,b', path: p"), "\"a,b\" is not a valid name for a clustertrustbundle"},
    {BUNDLE("name: 'b.c:d:', path: p"), "is not a valid name for a clustertrustbundle"},
    {BUNDLE("signerName: b.c, path: p"), "\"b.c\" is not a valid name for a signer"},
    {BUNDLE("signerName: 'b.c/a=b', path: p"), "is not a valid name for a signer"},
    {BUNDLE("signerName: b.c/d, labelSelector: {matchLabel: {}}, path: p"),
     "clusterTrustBundle.labelSelector.matchLabel: unknown field"},
    {BUNDLE("name: a, path: ../p"), "clusterTrustBundle.path: invalid path"},
    {BUNDLE("name: a, path: p, optional: 1"), "clusterTrustBundle.optional: expected"},
    {"{projected: {sources: [{podCertificate: {}}]}}",
     "sources[0].podCertificate: unsupported source"},
    {"{projected: {sources: [{secret: {secretName: a}}]}}",
     "projected.sources[0].secret.secretName: unknown field"},
    {"{projected: {sources: [{secret: {name: a, defaultMode: 0400}}]}}",
     "projected.sources[0].secret.defaultMode: unknown field"},
    {"{projected: {sources: [{configMap: {name: a, items: [{key: k, path: p, mode: 512}]}}]}}",
     "projected.sources[0].configMap.items[0].mode: invalid mode: use"},
    {"{projected: {sources: [{secret: {name: a, items: [{key: k, path: p}]}}, "
     "{configMap: {name: b, items: [{key: k, path: p}]}}]}}",
     "projected.sources: conflicting duplicate paths: \"p\""}, /* N3 */
    {"{secret: {secretName: a}, secretfs: {fsgroup: 5}}",
     "secretfs.fsgroup: unknown field, expected one of: uid, gid, fsGroup, type, tls"},
    {"{secret: {secretName: s}, secretfs: {onRevoked: drop}}",
     "secretfs.onRevoked: invalid onRevoked \"drop\", expected one of: keep, remove"},
    {"{secret: {secretName: s}, secretfs: {report: condition}}",
     "secretfs.report: only in a volume of a pod"},
    {"{secret: {secretName: s}, secretfs: {onUpdate: signal:HUP}}",
     "secretfs.onUpdate: only in a volume of a pod"},
    {"{secret: {secretName: a}, secretfs: {uid: 4294967295}}",
     "secretfs.uid: expected a whole number from 0 to 4294967294"},
    {"{secret: {secretName: a}, secretfs: {type: tsl}}", "secretfs.type: invalid type \"tsl\""},
    {"{secret: {secretName: a}, secretfs: {tls: on}}", "secretfs.tls: expected a string"},
    {"{secret: {secretName: a}, secretfs: {tls: keep}}",
     "secretfs.tls: invalid tls \"keep\", expected one of: report, hold"},
    {"{secret: {secretName: a}, secretfs: {updates: stable}}",
     "secretfs.updates: invalid updates \"stable\", expected one of: generations, in-place"},
    {"{secret: {secretName: a}, secretfs: {inotify: stable}}",
     "secretfs.inotify: unknown field, expected one of: "},
    {"{configMap: {name: a}, secretfs: {type: tls}}", "secretfs.type: only for secrets"},
    {"{configMap: {name: a}, secretfs: {check: tls}}", "secretfs.tls: only for secrets"},
    {"{configMap: {name: a}, secretfs: {check: \"json,xml\"}}",
     "secretfs.check: invalid check \"xml\", expected one of: tls, nonempty, json, yaml, pem, "
     "command:NAME"},
    {"{configMap: {name: a}, secretfs: {check: \"command:/bin/sh\"}}",
     "secretfs.check: invalid name of a command \"/bin/sh\": use lower-case letters, digits and "
     "dashes; the administrator says what it runs"},
    {"{configMap: {name: a}, secretfs: {check: \"command:\"}}",
     "secretfs.check: invalid name of a command \"\""},
    {"{configMap: {name: a}, secretfs: {check: \"command:a,command:b\"}}",
     "secretfs.check: use one command at most"},
    {"{configMap: {name: a}, secretfs: {check: \"\"}}", "secretfs.check: invalid check \"\""},
    {"{configMap: {name: a}, secretfs: {tls: hold}}", "secretfs.tls: only for secrets"},
    {"{secret: {secretName: a}, secretfs: x}", "secretfs: expected a mapping"},
};

static void errors_are_named(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(mistakes); i++) {
        struct volume_spec *spec = NULL;
        struct error e = ERROR_INIT;
        int r = volume_spec_parse(mistakes[i].text, strlen(mistakes[i].text), &spec, &e);

        if (r != -EINVAL || strstr(e.text, mistakes[i].message) == NULL)
            fail_msg("\"%s\" gave %d, \"%s\" instead of \"%s\"", mistakes[i].text, r, e.text,
                     mistakes[i].message);
        assert_null(spec);
    }
}

static void too_many_sources(void **state)
{
    static const char source[] = " - secret: {name: a}\n";
    static char text[64 + VOLUME_SOURCES_MAX * sizeof(source) + sizeof(source)];
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    char *at = stpcpy(text, "projected:\n sources:\n");

    for (size_t i = 0; i < VOLUME_SOURCES_MAX; i++)
        at = stpcpy(at, source);
    spec = parse(text);
    spec = volume_spec_free(spec);
    stpcpy(at, source);
    assert_int_equal(volume_spec_parse(text, strlen(text), &spec, &e), -E2BIG);
    assert_non_null(strstr(e.text, "projected.sources[256].secret: more than 256"));
}

static void too_many_items(void **state)
{
    static const char head[] = "{secret: {secretName: a, items: [", item[] = "{key: k, path: p},";
    size_t n = VOLUME_ITEMS_MAX, size = sizeof(head) + (n + 1) * strlen(item) + sizeof("]}}");
    _cleanup_(freep) char *text = malloc(size);
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    char *at = stpcpy(text, head), *tail;

    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, item);
    tail = at;
    stpcpy(tail, "]}}");
    assert_int_equal(volume_spec_parse(text, strlen(text), &spec, &e), 0);
    assert_int_equal(spec->sources[0].n_items, VOLUME_ITEMS_MAX);
    spec = volume_spec_free(spec);
    stpcpy(stpcpy(tail, item), "]}}");
    assert_int_equal(volume_spec_parse(text, strlen(text), &spec, &e), -E2BIG);
    assert_string_equal(e.text, "secret.items[65536]: more than 65536 items");
}

/* Parse items of the paths "0/f", "1/f" and so on, each below @above, which needs directories, too.
 */
static int parse_directories(const char *above, size_t n, struct error *e)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    size_t size = 64 + n * (strlen(above) + 40);
    _cleanup_(freep) char *text = malloc(size);
    int used = snprintf(text, size, "{secret: {secretName: a, items: [");

    for (size_t i = 0; i < n; i++)
        used += snprintf(text + used, size - (size_t)used, "{key: k, path: %s%zu/f},", above, i);
    snprintf(text + used, size - (size_t)used, "]}}");
    return volume_spec_parse(text, strlen(text), &spec, e);
}

/* Paths that share a directory count it once, however they are written. */
static void too_many_directories(void **state)
{
    struct error e = ERROR_INIT;

    assert_int_equal(parse_directories("", VOLUME_DIRECTORIES_MAX, &e), 0);
    assert_int_equal(parse_directories("", VOLUME_DIRECTORIES_MAX + 1, &e), -E2BIG);
    assert_string_equal(e.text, "the paths of the items need more than 4096 directories");
    assert_int_equal(parse_directories("d/.//e/", VOLUME_DIRECTORIES_MAX - 2, &e), 0);
    assert_int_equal(parse_directories("d/.//e/", VOLUME_DIRECTORIES_MAX - 1, &e), -E2BIG);
}

/* L5: within one object the same path may be there twice. */
static void duplicate_paths_in_one_object_are_allowed(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse("{secret: {secretName: a, items: [{key: k, path: p}, {key: l, path: p}]}}");

    assert_int_equal(spec->sources[0].n_items, 2);
}

static int parse_everything(void *userdata)
{
    static const char text[] = "{name: v, projected: {sources: [{clusterTrustBundle: {path: b, "
                               "signerName: b.c/d, labelSelector: {matchExpressions: [{key: k, "
                               "operator: In, values: [a]}]}}}, {secret: {name: a, items: "
                               "[{key: k, path: p}, {key: l, path: q}]}}, {configMap: {name: b}}]},"
                               " secretfs: {type: tls}}";
    struct volume_spec *spec = NULL;
    struct error e;
    int r = volume_spec_parse(text, strlen(text), &spec, &e);

    volume_spec_free(spec);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(parse_everything, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secret_volume),
        cmocka_unit_test(configmap_volume_in_json),
        cmocka_unit_test(own_options_have_defaults),
        cmocka_unit_test(projected_volume),
        cmocka_unit_test(trust_bundles),
        cmocka_unit_test(errors_are_named),
        cmocka_unit_test(too_many_sources),
        cmocka_unit_test(too_many_items),
        cmocka_unit_test(too_many_directories),
        cmocka_unit_test(duplicate_paths_in_one_object_are_allowed),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests_name("spec_parse", tests, NULL, NULL);
}
