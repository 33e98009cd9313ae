/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/observe/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/inotify.h>

#include <cmocka.h>

static char a_path[] = "a", b_path[] = "b", c_path[] = "c\n";
static struct snapshot_file old_files[] = {{.path = a_path, .digest = {1}}, {.path = b_path}};
static struct snapshot_file new_files[] = {{.path = a_path, .digest = {2}}, {.path = c_path}};
static const struct snapshot old = {old_files, 2}, new = {new_files, 2}, none;

static void assert_printed(const struct record *record, const char *expected)
{
    _cleanup_(buf_deinit) struct buf text = BUF_INIT(65536);

    /* a fixed time */
    if (cJSON_HasObjectItem(record->json, "time"))
        cJSON_SetValuestring(cJSON_GetObjectItem(record->json, "time"), "T");
    assert_int_equal(record_print(record->json, false, &text), 0);
    assert_string_equal(buf_text(&text), expected);
}

static void content_comes_first(void **state)
{
    struct record record = {0};

    assert_int_equal(record_show(&record, "..1", &none, &old), 0);
    assert_true(record.is_shown);
    assert_printed(&record, "T content: a, b\n  generation ..1\n");
    record_deinit(&record);
    assert_int_equal(record_show(&record, "..1", &none, &none), 0);
    assert_printed(&record, "T content: no files\n  generation ..1\n");
    record_deinit(&record);
}

static void update_has_changes_and_events(void **state)
{
    struct record record = {0};

    assert_int_equal(record_add_event(&record, IN_CREATE | IN_ISDIR, "..2"), 0);
    assert_false(record.is_shown);
    assert_int_equal(record_add_event(&record, IN_MOVED_TO, "..data"), 0);
    assert_int_equal(record_show(&record, "..2", &old, &new), 0);
    assert_int_equal(record_add_event(&record, IN_DELETE_SELF, ""), 0);
    assert_printed(&record, "T update: added c?, changed a, removed b\n"
                            "  generation ..2\n"
                            "  CREATE ..2/\n"
                            "  MOVED_TO ..data\n"
                            "  DELETE_SELF\n");
    record_deinit(&record);
}

static void update_without_changes(void **state)
{
    struct record record = {0};

    assert_int_equal(record_add_event(&record, IN_MOVED_TO, "..data"), 0);
    assert_int_equal(record_show(&record, "..2", &old, &old), 0);
    assert_printed(&record, "T update: no content differs\n  generation ..2\n  MOVED_TO ..data\n");
    record_deinit(&record);
}

static void events_without_an_update(void **state)
{
    struct record record = {0};

    assert_int_equal(record_add_event(&record, IN_ATTRIB | IN_ISDIR, ""), 0);
    assert_printed(&record, "events without an update:\n  ATTRIB\n");
    record_deinit(&record);
}

static const char status_text[] =
    "{\"object\": {\"kind\": \"Secret\", \"namespace\": \"ns\", \"name\": \"db\", "
    "\"resourceVersion\": \"7\"}, \"volume\": {\"generation\": \"..1\"}, "
    "\"lastUpdate\": {\"latencySeconds\": 0.0012}}";

static void status_is_of_the_generation(void **state)
{
    _cleanup_(cJSON_Deletep) cJSON *status = cJSON_Parse(status_text);
    struct record record = {0};

    assert_non_null(status);
    assert_int_equal(record_show(&record, "..2", &none, &old), 0);
    assert_int_equal(record_add_status(&record, status), 0);
    assert_printed(&record, "T content: a, b\n  generation ..2\n");
    record_deinit(&record);

    assert_int_equal(record_show(&record, "..1", &none, &old), 0);
    assert_int_equal(record_add_status(&record, NULL), 0);
    assert_int_equal(record_add_status(&record, status), 0);
    assert_printed(&record, "T content: a, b\n  generation ..1\n  Secret ns/db at resourceVersion "
                            "7, shown 1.2 ms after secretfs received it\n");
    record_deinit(&record);
}

/* Of a projected volume, and of one of several that are watched. */
static void several_objects_and_volumes(void **state)
{
    static const char text[] =
        "{\"objects\": [{\"kind\": \"Secret\", \"namespace\": \"ns\", \"name\": \"db\", "
        "\"resourceVersion\": \"7\"}, {\"kind\": \"ClusterTrustBundle\", \"namespace\": \"\", "
        "\"name\": \"ca\"}], \"volume\": {\"generation\": \"..1\"}}";
    _cleanup_(cJSON_Deletep) cJSON *status = cJSON_Parse(text);
    _cleanup_(buf_deinit) struct buf printed = BUF_INIT(65536);
    struct record record = {0};

    assert_int_equal(record_show(&record, "..1", &none, &old), 0);
    assert_int_equal(record_add_status(&record, status), 0);
    assert_int_equal(record_add_change(&record, "7", SPAN_SEC(62)), 0);
    assert_int_equal(json_add_text(record.json, "path", "/a\n"), 0);
    cJSON_SetValuestring(cJSON_GetObjectItem(record.json, "time"), "T");
    assert_int_equal(record_print(record.json, true, &printed), 0);
    assert_string_equal(buf_text(&printed),
                        "T /a? content: a, b\n  generation ..1\n"
                        "  Secret ns/db at resourceVersion 7, ClusterTrustBundle ca\n"
                        "  shown 62.000 s after this program received resourceVersion 7\n");
    record_deinit(&record);
}

/* A watch of secretfs may be faster than that of this program: no latency is negative. */
static void update_before_its_change(void **state)
{
    struct record record = {0};

    assert_int_equal(record_show(&record, "..1", &none, &none), 0);
    assert_int_equal(record_add_change(&record, "7", 0), 0);
    assert_printed(&record, "T content: no files\n  generation ..1\n"
                            "  shown no time after this program received resourceVersion 7\n");
    record_deinit(&record);
}

static void changes_of_the_object(void **state)
{
    const struct object_key key = {OBJECT_CONFIGMAP, "ns", "web", NULL};
    struct record record = {.json = record_of_change(&key, "8")};

    assert_printed(&record, "T change: ConfigMap ns/web at resourceVersion 8\n");
    record_deinit(&record);
    record.json = record_of_change(&key, NULL);
    assert_printed(&record, "T change: ConfigMap ns/web was deleted\n");
    record_deinit(&record);
}

/* Processes choose their names. */
static void opens_of_files(void **state)
{
    struct opened opened = {.at = 3000000};
    struct record record;

    opened.identity.process.pid = 47;
    record.json = record_of_open("/v", "..1", "a", &opened, 0);
    assert_printed(&record, "T opened: a by a process that has ended (47)\n");
    record_deinit(&record);
    snprintf(opened.identity.process.comm, IDENTITY_COMM_SIZE, "a\nb");
    snprintf(opened.identity.group.container, IDENTITY_CONTAINER_SIZE, "0123456789abcdef");
    record.json = record_of_open("/v", "..1", "a", &opened, 1000000);
    assert_printed(&record,
                   "T opened: a by a?b (47) of container 0123456789ab, 2.000 s after the update\n");
    record_deinit(&record);
}

static void events_have_a_limit(void **state)
{
    struct record record = {0};

    for (size_t i = 0; i < RECORD_EVENTS_MAX + 2; i++)
        assert_int_equal(record_add_event(&record, IN_ATTRIB, "a"), 0);
    assert_int_equal(cJSON_GetArraySize(json_member(record.json, "events")), RECORD_EVENTS_MAX);
    assert_true(record.n_dropped == 2);
    record_deinit(&record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_comes_first),
        cmocka_unit_test(update_has_changes_and_events),
        cmocka_unit_test(update_without_changes),
        cmocka_unit_test(events_without_an_update),
        cmocka_unit_test(status_is_of_the_generation),
        cmocka_unit_test(several_objects_and_volumes),
        cmocka_unit_test(update_before_its_change),
        cmocka_unit_test(changes_of_the_object),
        cmocka_unit_test(opens_of_files),
        cmocka_unit_test(events_have_a_limit),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
