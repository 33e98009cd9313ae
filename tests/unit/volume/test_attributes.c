/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "volume/attributes.h"

#include "encoding/json.h"

#include "tests/unit/failmalloc.h"

#define A(...) ((const struct volume_attribute[]){__VA_ARGS__})
#define N(...) (sizeof(A(__VA_ARGS__)) / sizeof(struct volume_attribute))

/* ---- podVolume */

static int parse_entry(const char *entry, const struct volume_attribute *attributes, size_t n,
                       struct volume_spec **ret_spec, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_Parse(entry);
    const struct volume_attributes_context context = {.pod_volume = json,
                                                      .default_secret = "unused"};

    assert_non_null(json);
    return volume_attributes_parse(attributes, n, &context, ret_spec, e);
}

static void pod_volume(void **state)
{
    static const struct volume_attribute attributes[] = {{"podVolume", "own"}, {"uid", "7"}};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    assert_string_equal(volume_attributes_pod_volume(attributes, 2), "own");
    assert_null(volume_attributes_pod_volume(attributes + 1, 1));
    assert_int_equal(parse_entry("{\"name\":\"own\",\"configMap\":{\"name\":\"look\","
                                 "\"defaultMode\":256}}",
                                 attributes, 2, &spec, &e),
                     0);
    assert_int_equal(spec->kind, VOLUME_CONFIGMAP);
    assert_int_equal(spec->default_mode, 0400);
    assert_int_equal(spec->uid, 7);
}

/* Y18, Y19: the request, then one item for each path. */
static void pod_certificate(void **state)
{
    static const struct volume_attribute attributes[] = {{"podVolume", "own"}};
    static const struct volume_pod pod = {.name = "web-0", .uid = "u-1", .service_account = "web"};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    const struct volume_source *source;

    assert_int_equal(parse_entry("{\"projected\":{\"sources\":[{\"podCertificate\":{\"signerName\":"
                                 "\"example.com/a\",\"keyType\":\"ED25519\",\"keyPath\":\"k\","
                                 "\"certificateChainPath\":\"c\",\"user\":7,\"userAnnotations\":{"
                                 "\"a.b/c\":\"x\\ny\"}}}]}}",
                                 attributes, 1, &spec, &e),
                     0);
    assert_true(volume_spec_needs_pod_user(spec));
    assert_int_equal(volume_spec_bind_pod(spec, &pod), 0);
    source = &spec->sources[0];
    assert_int_equal(source->kind, OBJECT_POD_CERTIFICATE);
    assert_string_equal(source->name, "web");
    assert_string_equal(source->detail, "u-1\nweb-0\nexample.com/a\nED25519\n86400\n"
                                        "{\"a.b/c\":\"x\\ny\"}");
    assert_int_equal(source->n_items, 2);
    assert_string_equal(source->items[0].key, "key");
    assert_string_equal(source->items[0].path, "k");
    assert_int_equal(source->items[0].uid, 7);
    assert_string_equal(source->items[1].key, "certificateChain");
}

#define SIGNED "\"signerName\":\"example.com/a\",\"keyType\":\"ED25519\""

static void invalid_pod_certificates(void **state)
{
    static const struct volume_attribute attributes[] = {{"podVolume", "own"}};
    static const struct {
        const char *source;
        const char *message;
    } mistakes[] = {
        {"\"keyType\":\"ED25519\",\"keyPath\":\"k\"", "signerName: required field is missing"},
        {"\"signerName\":\"a\",\"keyType\":\"ED25519\"", "is not a valid name for a signer"},
        {"\"signerName\":\"example.com/a\"", "keyType: required field is missing"},
        {"\"signerName\":\"example.com/a\",\"keyType\":\"RSA\"", "invalid key type \"RSA\""},
        {SIGNED, "expected credentialBundlePath, keyPath or certificateChainPath"},
        {SIGNED ",\"keyPath\":\"/k\"", "podCertificate.keyPath: invalid path"},
        {SIGNED ",\"maxExpirationSeconds\":3599", "expected 3600 to 7862400 seconds"},
        {SIGNED ",\"maxExpirationSeconds\":7862401", "expected 3600 to 7862400 seconds"},
        {SIGNED ",\"userAnnotations\":[]", "userAnnotations: expected a mapping"},
        {SIGNED ",\"userAnnotations\":{\"a\":1}", "userAnnotations.a: expected a string"},
        {SIGNED ",\"keyPath\":\"k\",\"certificateChainPath\":\"k\"", "conflicting duplicate paths"},
        {SIGNED ",\"path\":\"k\"", "podCertificate.path: unknown field"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(mistakes); i++) {
        struct volume_spec *spec = NULL;
        struct error e = ERROR_INIT;
        char entry[512];

        snprintf(entry, sizeof(entry), "{\"projected\":{\"sources\":[{\"podCertificate\":{%s}}]}}",
                 mistakes[i].source);
        assert_int_equal(parse_entry(entry, attributes, 1, &spec, &e), -EINVAL);
        if (strstr(e.text, mistakes[i].message) == NULL)
            fail_msg("\"%s\" is not in: %s", mistakes[i].message, e.text);
    }
}

static void default_secret(void **state)
{
    static const struct volume_attributes_context context = {.default_secret = "creds"};
    static const struct volume_attribute attributes[] = {{"defaultMode", "0400"},
                                                         {"configMap", ""}},
                                         named[] = {{"configMap", "look"}};
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    assert_false(volume_attributes_name_object(attributes, 2));
    assert_int_equal(volume_attributes_parse(attributes, 2, &context, &spec, &e), 0);
    assert_int_equal(spec->kind, VOLUME_SECRET);
    assert_string_equal(spec->sources[0].name, "creds");
    assert_int_equal(spec->default_mode, 0400);
    spec = volume_spec_free(spec);
    assert_true(volume_attributes_name_object(named, 1));
    assert_int_equal(volume_attributes_parse(named, 1, &context, &spec, &e), 0);
    assert_string_equal(spec->sources[0].name, "look");
}

static void pod_volume_that_is_none_of_ours(void **state)
{
    static const struct volume_attribute attributes[] = {{"podVolume", "own"},
                                                         {"secretName", "db"}};
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(parse_entry("{\"name\":\"own\",\"emptyDir\":{}}", attributes, 1, &spec, &e),
                     -EINVAL);
    assert_non_null(strstr(e.text, "volumeAttributes.podVolume.emptyDir: unsupported volume"));
    assert_int_equal(parse_entry("{\"name\":\"own\",\"secret\":{\"secretName\":\"db\"}}",
                                 attributes, 2, &spec, &e),
                     -EINVAL);
    assert_int_equal(volume_attributes_parse(attributes, 1, NULL, &spec, &e), -EINVAL);
    assert_null(spec);
}

static struct volume_spec *parse_all(const struct volume_attribute *attributes, size_t n)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    if (volume_attributes_parse(attributes, n, NULL, &spec, &e) != 0)
        fail_msg("%s", e.text);
    return spec;
}
#define parse(...) parse_all(A(__VA_ARGS__), N(__VA_ARGS__))

static void refuse_all(const char *expected, const struct volume_attribute *attributes, size_t n)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    if (volume_attributes_parse(attributes, n, NULL, &spec, &e) >= 0)
        fail_msg("nothing was wrong, instead of: %s", expected);
    assert_null(spec);
    if (strstr(e.text, expected) == NULL)
        fail_msg("\"%s\" is not in: %s", expected, e.text);
}
#define refuse(expected, ...) refuse_all(expected, A(__VA_ARGS__), N(__VA_ARGS__))

static void secret_with_all_attributes(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse({"secretName", "db"},
              {"items", "[{key: password, path: pgpass, mode: 0440}, {key: user, path: a/b}]"},
              {"defaultMode", "0400"}, {"optional", "true"}, {"uid", "1000"}, {"gid", "1001"},
              {"fsGroup", "1002"}, {"type", "tls"}, {"tls", "hold"}, {"updates", "in-place"},
              {"onRevoked", "remove"}, {"report", "condition"}, {"onUpdate", "signal:USR1"},
              {"onUpdateContainer", "web"}, {"onUpdateProcess", "nginx"});

    assert_int_equal(spec->kind, VOLUME_SECRET);
    assert_int_equal(spec->n_sources, 1);
    assert_string_equal(spec->sources[0].name, "db");
    assert_true(spec->sources[0].is_optional);
    assert_int_equal(spec->sources[0].n_items, 2);
    assert_string_equal(spec->sources[0].items[0].path, "pgpass");
    assert_int_equal(spec->sources[0].items[0].mode, 0440);
    assert_string_equal(spec->sources[0].items[1].path, "a/b");
    assert_int_equal(spec->default_mode, 0400);
    assert_int_equal(spec->uid, 1000);
    assert_int_equal(spec->gid, 1001);
    assert_int_equal(spec->fs_group, 1002);
    assert_string_equal(spec->type, "kubernetes.io/tls");
    assert_true(spec->holds_tls);
    assert_int_equal(spec->updates, VOLUME_UPDATES_IN_PLACE);
    assert_true(spec->removes_revoked);
    assert_int_equal(spec->report, VOLUME_REPORT_CONDITION);
    assert_int_equal(spec->update_signal, SIGUSR1);
    assert_string_equal(spec->update_container, "web");
    assert_string_equal(spec->update_process, "nginx");
}

/* As an entry has them: in JSON, or as a block. */
static void items_in_other_yaml_styles(void **state)
{
    static const char *const writings[] = {
        "[{\"key\": \"k\", \"path\": \"p\", \"mode\": 256}]",
        "- key: k\n  path: p\n  mode: 0400\n",
        "- {key: k, path: p, mode: 0o400}",
    };

    for (size_t i = 0; i < ELEMENTS_OF(writings); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec =
            parse({"configMap", "settings"}, {"items", writings[i]});

        assert_int_equal(spec->kind, VOLUME_CONFIGMAP);
        assert_string_equal(spec->sources[0].name, "settings");
        assert_int_equal(spec->sources[0].n_items, 1);
        assert_int_equal(spec->sources[0].items[0].mode, 0400);
    }
}

/* Which is a number, a truth value, a null or a float if it is read as YAML. */
static void names_are_literal(void **state)
{
    static const char *const names[] = {"123", "true", "null", "1e3", "0777", "no"};

    for (size_t i = 0; i < ELEMENTS_OF(names); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec = parse({"secretName", names[i]});

        assert_string_equal(spec->sources[0].name, names[i]);
        assert_int_equal(spec->default_mode, VOLUME_DEFAULT_MODE);
        assert_false(spec->sources[0].is_optional);
        assert_int_equal(spec->uid, VOLUME_ID_UNSET);
    }
}

static void empty_attributes_count_as_absent(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse({"secretName", "db"}, {"configMap", ""}, {"items", ""}, {"optional", ""},
              {"defaultMode", " "}, {"type", ""}, {"gid", "# nothing"});

    assert_int_equal(spec->sources[0].n_items, 0);
    assert_int_equal(spec->default_mode, VOLUME_DEFAULT_MODE);
    assert_null(spec->type);
}

static void sources_make_a_projected_volume(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse({"sources", "- secret: {name: db}\n"
                          "- configMap:\n"
                          "    name: settings\n"
                          "    optional: true\n"
                          "    items: [{key: a, path: b}]\n"},
              {"defaultMode", "288"}, {"uid", "7"});

    assert_int_equal(spec->kind, VOLUME_PROJECTED);
    assert_int_equal(spec->n_sources, 2);
    assert_string_equal(spec->sources[0].name, "db");
    assert_true(spec->sources[1].is_optional);
    assert_int_equal(spec->default_mode, 0440);
    assert_int_equal(spec->uid, 7);
}

static void volume_is_an_entry(void **state)
{
    _cleanup_(volume_spec_freep) struct volume_spec *spec =
        parse({"volume", "name: certs\n"
                         "secret:\n"
                         "  secretName: web\n"
                         "  defaultMode: 0440\n"
                         "secretfs: {uid: 1, gid: 2}\n"},
              {"uid", "3"}, {"tls", "hold"});

    assert_string_equal(spec->name, "certs");
    assert_string_equal(spec->sources[0].name, "web");
    assert_int_equal(spec->default_mode, 0440);
    assert_int_equal(spec->uid, 3);
    assert_int_equal(spec->gid, 2);
    assert_true(spec->holds_tls);
}

static void missing_and_conflicting_attributes_are_refused(void **state)
{
    refuse("volumeAttributes: expected one of: secretName, configMap, sources, volume",
           {"defaultMode", "0400"});
    refuse("volumeAttributes: expected one of", {"secretName", ""});
    refuse("volumeAttributes.configMap: conflicts with secretName", {"secretName", "a"},
           {"configMap", "b"});
    refuse("volumeAttributes.volume: conflicts with sources", {"sources", "[]"},
           {"volume", "secret: {secretName: a}"});
    refuse("secret/db: volumeAttributes.secretname: unknown field, expected one of: "
           "secretName, configMap, sources, volume, podVolume, items, defaultMode, optional, uid",
           {"secretName", "db"}, {"secretname", "x"});
    refuse("volumeAttributes.items: unknown field, expected one of: sources, defaultMode",
           {"sources", "[]"}, {"items", "[{key: a, path: b}]"});
    refuse("volumeAttributes.optional: unknown field, expected one of: volume",
           {"volume", "secret: {secretName: a}"}, {"optional", "true"});
    refuse("volumeAttributes.uid: duplicate key", {"secretName", "a"}, {"uid", "1"}, {"uid", "1"});
}

/* What the messages about types propose is valid. */
static void proposals_are_valid(void **state)
{
    static const struct volume_attribute proposals[][2] = {
        {{"secretName", "db"}, {"items", "[{key: password, path: pgpass}]"}},
        {{"sources", "[{secret: {name: db}}]"}, {"defaultMode", "0400"}},
        {{"volume", "secret: {secretName: db}"}, {"uid", "1000"}},
        {{"configMap", "c"}, {"optional", "true"}},
    };

    for (size_t i = 0; i < ELEMENTS_OF(proposals); i++) {
        _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
        struct error e = ERROR_INIT;

        if (volume_attributes_parse(proposals[i], 2, NULL, &spec, &e) < 0)
            fail_msg("%s", e.text);
    }
}

static void invalid_attributes_are_named(void **state)
{
    refuse("volumeAttributes.secretName: \"A_b\" is not a valid name for a secret",
           {"secretName", "A_b"});
    refuse("secret/db: volumeAttributes.defaultMode: invalid mode: use", {"secretName", "db"},
           {"defaultMode", "01000"});
    refuse("volumeAttributes.defaultMode: expected a number in quotes, such as \"0400\"",
           {"secretName", "db"}, {"defaultMode", "rw"});
    refuse("volumeAttributes.uid: expected a number in quotes, such as \"1000\"",
           {"secretName", "db"}, {"uid", "'1000'"});
    refuse("volumeAttributes.optional: expected \"true\" or \"false\", in quotes",
           {"configMap", "c"}, {"optional", "maybe"});
    refuse("volumeAttributes.items: expected a list in quotes, such as \"[{key: password, path: "
           "pgpass}]\"",
           {"secretName", "db"}, {"items", "password"});
    refuse("volumeAttributes.items: expected a list in quotes", {"secretName", "db"},
           {"items", "key: a"});
    refuse(
        "volumeAttributes.sources: expected a list in quotes, such as \"[{secret: {name: db}}]\"",
        {"sources", "secret: {name: db}"});
    refuse("volumeAttributes.items[1].path: invalid path \"../x\"", {"secretName", "db"},
           {"items", "[{key: a, path: a}, {key: b, path: ../x}]"});
    refuse("volumeAttributes.items: line ", {"secretName", "db"}, {"items", "[{key: a"});
    refuse("volumeAttributes.sources[0].secret.secretName: unknown field, expected one of: ",
           {"sources", "- secret: {secretName: x}\n"});
    refuse("volumeAttributes.volume.secret.items[0].key: required field is missing",
           {"volume", "secret: {secretName: a, items: [{path: x}]}"});
    refuse("volumeAttributes.volume: expected an entry of a pod's volumes in quotes, such as "
           "\"secret: {secretName: db}\"",
           {"volume", "db"});
    refuse("volumeAttributes.onUpdate: invalid signal \"KILL\", expected one of: HUP, ",
           {"secretName", "db"}, {"onUpdate", "signal:KILL"});
    refuse("volumeAttributes.onUpdate: required with onUpdateContainer and onUpdateProcess",
           {"secretName", "db"}, {"onUpdateContainer", "web"});
    refuse("volumeAttributes.onUpdate: required with onUpdateContainer and onUpdateProcess",
           {"secretName", "db"}, {"onUpdateProcess", "nginx"});
    refuse("volumeAttributes.tls: invalid tls \"nope\", expected one of: report, hold",
           {"secretName", "db"}, {"tls", "nope"});
    refuse("volumeAttributes.tls: invalid tls \"no\", expected one of: report, hold",
           {"secretName", "db"}, {"tls", "no"});
    refuse("volumeAttributes.other: unknown field, expected one of: ", {"secretName", "db"},
           {"other", "{no: [yaml"});
    refuse("volumeAttributes.fsGroup: expected a whole number", {"secretName", "db"},
           {"fsGroup", "-1"});
}

static void number_is_limited(void **state)
{
    struct volume_attribute attributes[VOLUME_ATTRIBUTES_MAX + 1];

    for (size_t i = 0; i < ELEMENTS_OF(attributes); i++)
        attributes[i] = (struct volume_attribute){"uid", ""};
    attributes[0] = (struct volume_attribute){"secretName", "db"};
    volume_spec_free(parse_all(attributes, VOLUME_ATTRIBUTES_MAX));
    refuse_all("more than 64", attributes, VOLUME_ATTRIBUTES_MAX + 1);
}

static int try_parsing(void *userdata)
{
    const struct volume_attribute attributes[] = {
        {"secretName", "db"}, {"items", "[{key: a, path: b}]"}, {"type", "tls"}, {"uid", "1"}};
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;
    int r = volume_attributes_parse(attributes, ELEMENTS_OF(attributes), NULL, &spec, &e);

    volume_spec_free(spec);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_parsing, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pod_volume),
        cmocka_unit_test(pod_certificate),
        cmocka_unit_test(invalid_pod_certificates),
        cmocka_unit_test(default_secret),
        cmocka_unit_test(pod_volume_that_is_none_of_ours),
        cmocka_unit_test(secret_with_all_attributes),
        cmocka_unit_test(items_in_other_yaml_styles),
        cmocka_unit_test(names_are_literal),
        cmocka_unit_test(empty_attributes_count_as_absent),
        cmocka_unit_test(sources_make_a_projected_volume),
        cmocka_unit_test(volume_is_an_entry),
        cmocka_unit_test(missing_and_conflicting_attributes_are_refused),
        cmocka_unit_test(invalid_attributes_are_named),
        cmocka_unit_test(proposals_are_valid),
        cmocka_unit_test(number_is_limited),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
