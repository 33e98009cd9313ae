/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/spec_json.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"
#include "volume/spec_parse.h"

static struct volume_spec *parse(const char *text)
{
    struct volume_spec *spec = NULL;
    struct error e = ERROR_INIT;

    if (volume_spec_parse(text, strlen(text), &spec, &e) != 0)
        fail_msg("\"%s\": %s", text, e.text);
    return spec;
}

static char *print(const struct volume_spec *spec)
{
    cJSON *json = NULL;
    char *text;

    assert_int_equal(volume_spec_to_json(spec, &json), 0);
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    assert_non_null(text);
    return text;
}

static int read_text(const char *text, struct volume_spec **ret_spec, struct error *e)
{
    cJSON *json = NULL;
    int r = json_parse(text, strlen(text), &json, e);

    if (r == 0)
        r = volume_spec_from_json(json, ret_spec, e);
    cJSON_Delete(json);
    return r;
}

/* Written, read and written again it is the same. */
static void check_same(const struct volume_spec *spec)
{
    struct volume_spec *again = NULL;
    struct error e = ERROR_INIT;
    char *text = print(spec), *text_again;

    assert_int_equal(read_text(text, &again, &e), 0);
    text_again = print(again);
    assert_string_equal(text, text_again);
    free(text);
    free(text_again);
    volume_spec_free(again);
}

static void test_same_after_reading(void **state)
{
    static const char *const texts[] = {
        "secret: {secretName: db}",
        "secret: {secretName: db, defaultMode: 0400, optional: true, items: [{key: a, path: b/c, "
        "mode: 0}, {key: d, path: e}]}",
        "configMap: {name: app}",
        "projected: {sources: [{secret: {name: a}}, {configMap: {name: b, optional: true}}, "
        "{clusterTrustBundle: {name: ca, path: ca.pem}}]}",
    };

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        struct volume_spec *spec = parse(texts[i]);

        check_same(spec);
        volume_spec_free(spec);
    }
}

/* Their names and details are completed when the volume is made, and are in the record. */
static void test_sources_that_are_made_of_the_pod(void **state)
{
    const struct volume_pod pod = {.name = "web-0", .uid = "u-1", .service_account = "web"};
    const struct volume_item item = {.key = "metadata.labels",
                                     .path = "labels",
                                     .mode = VOLUME_MODE_UNSET,
                                     .uid = VOLUME_ID_UNSET,
                                     .gid = VOLUME_ID_UNSET};
    struct volume_spec *spec = NULL;
    struct volume_source *source;
    char *text;

    assert_int_equal(volume_spec_new(VOLUME_PROJECTED, &spec), 0);
    assert_int_equal(volume_spec_add_source(spec, OBJECT_SERVICE_ACCOUNT_TOKEN, NULL, &source), 0);
    assert_int_equal(volume_text_set(&source->request, "700\nvault"), 0);
    assert_int_equal(volume_spec_add_source(spec, OBJECT_DOWNWARD_API, NULL, &source), 0);
    assert_int_equal(volume_source_add_item(source, &item), 0);
    assert_int_equal(volume_spec_bind_pod(spec, &pod), 0);
    check_same(spec);
    text = print(spec);
    assert_non_null(strstr(text, "\"name\":\"web-0\",\"detail\":\"u-1\\nmetadata.labels\""));
    assert_non_null(strstr(text, "\"request\":\"700\\nvault\""));
    free(text);
    volume_spec_free(spec);
}

/* Each member that has another value than that of a new spec. */
static void test_all_members(void **state)
{
    struct volume_spec *spec = NULL, *again = NULL;
    struct volume_source *source;
    const struct volume_item item = {.key = "k", .path = "p", .mode = 0600, .uid = 0, .gid = 5};
    struct error e = ERROR_INIT;
    char *text;

    assert_int_equal(volume_spec_new(VOLUME_PROJECTED, &spec), 0);
    spec->default_mode = 0;
    spec->pod_user = 1;
    spec->default_user = 2;
    spec->is_of_pod = spec->holds_tls = spec->removes_revoked = true;
    spec->checks = 5;
    spec->report = VOLUME_REPORT_NONE;
    spec->update_signal = SIGUSR2;
    assert_int_equal(volume_text_set(&spec->update_container, "web"), 0);
    assert_int_equal(volume_text_set(&spec->update_process, "nginx"), 0);
    spec->uid = 0;
    spec->gid = 4294967294;
    spec->fs_group = 3;
    spec->updates = VOLUME_UPDATES_IN_PLACE;
    assert_int_equal(volume_text_set(&spec->type, "kubernetes.io/tls"), 0);
    assert_int_equal(volume_text_set(&spec->check_command, "parses"), 0);
    assert_int_equal(volume_text_set(&spec->name, "all"), 0);
    assert_int_equal(volume_spec_add_source(spec, OBJECT_SECRET, "db", &source), 0);
    source->is_optional = true;
    assert_int_equal(volume_text_set(&source->detail, "d"), 0);
    assert_int_equal(volume_source_add_item(source, &item), 0);
    text = print(spec);
    assert_int_equal(read_text(text, &again, &e), 0);
    assert_int_equal(again->kind, VOLUME_PROJECTED);
    assert_int_equal(again->default_mode, 0);
    assert_int_equal(again->pod_user, 1);
    assert_int_equal(again->default_user, 2);
    assert_true(again->is_of_pod && again->holds_tls && again->removes_revoked);
    assert_int_equal(again->checks, 5);
    assert_int_equal(again->report, VOLUME_REPORT_NONE);
    assert_int_equal(again->update_signal, SIGUSR2);
    assert_string_equal(again->update_container, "web");
    assert_string_equal(again->update_process, "nginx");
    assert_int_equal(again->uid, 0);
    assert_int_equal(again->gid, 4294967294);
    assert_int_equal(again->fs_group, 3);
    assert_int_equal(again->updates, VOLUME_UPDATES_IN_PLACE);
    assert_string_equal(again->type, "kubernetes.io/tls");
    assert_string_equal(again->check_command, "parses");
    assert_string_equal(again->name, "all");
    assert_true(again->sources[0].is_optional);
    assert_string_equal(again->sources[0].detail, "d");
    assert_int_equal(again->sources[0].items[0].mode, 0600);
    assert_int_equal(again->sources[0].items[0].uid, 0);
    assert_int_equal(again->sources[0].items[0].gid, 5);
    free(text);
    volume_spec_free(spec);
    volume_spec_free(again);
}

static void test_invalid_documents_are_refused(void **state)
{
    static const char *const texts[] = {
        "[]",
        "{}",
        "{\"kind\": 1}",
        "{\"kind\": \"unheardOf\"}",
        "{\"kind\": \"secret\", \"mode\": \"0644\"}",
        "{\"kind\": \"secret\", \"uid\": -1}",
        "{\"kind\": \"secret\", \"uid\": 4294967295}",
        "{\"kind\": \"secret\", \"type\": 1}",
        "{\"kind\": \"secret\", \"sources\": [{}]}",
        "{\"kind\": \"secret\", \"sources\": [{\"kind\": \"secret\"}]}",
        "{\"kind\": \"secret\", \"sources\": [{\"kind\": \"newer\", \"name\": \"a\"}]}",
        "{\"kind\": \"secret\", \"sources\": [{\"kind\": \"secret\", \"name\": \"a\", "
        "\"items\": [{\"key\": \"k\"}]}]}",
    };

    for (size_t i = 0; i < ELEMENTS_OF(texts); i++) {
        struct volume_spec *spec = NULL;
        struct error e = ERROR_INIT;

        assert_int_equal(read_text(texts[i], &spec, &e), -EINVAL);
        assert_non_null(strstr(e.text, "invalid spec of a volume"));
        assert_null(spec);
    }
    assert_int_equal(volume_spec_from_json(NULL, &(struct volume_spec *){NULL}, NULL), -EINVAL);
}

static int try_both(void *userdata)
{
    _cleanup_(volume_spec_freep) struct volume_spec *again = NULL;
    const struct volume_spec *spec = userdata;
    cJSON *json = NULL;
    int r = volume_spec_to_json(spec, &json);

    if (r == 0)
        r = volume_spec_from_json(json, &again, NULL);
    cJSON_Delete(json);
    return r;
}

static void test_no_memory(void **state)
{
    struct volume_spec *spec = parse("secret: {secretName: db, items: [{key: a, path: b}]}");

    failmalloc_try(try_both, spec);
    volume_spec_free(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_after_reading),
        cmocka_unit_test(test_sources_that_are_made_of_the_pod),
        cmocka_unit_test(test_all_members),
        cmocka_unit_test(test_invalid_documents_are_refused),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
