/* SPDX-License-Identifier: Apache-2.0 */
/* A line of the audit: its members, and names that others choose. */
#include "consumers/audit_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/util.h"
#include "encoding/json.h"

static const struct object_key db = {.kind = OBJECT_SECRET, .namespace = "prod", .name = "db"};
static const struct audit_volume of_pod = {
    .namespace = "prod", .pod = "web-0", .mountpoint = "/pods/x"};
static const struct timespec at = {.tv_sec = 1, .tv_nsec = 2000000};

static struct audit_open open_of(const struct consumer_identity *identity)
{
    return (struct audit_open){.at = at,
                               .identity = identity,
                               .pid = 7,
                               .object = &db,
                               .key = "password",
                               .version = "12"};
}

static void test_members(void **state)
{
    struct consumer_identity nginx = {.process = {.pid = 7, .uid = 101, .comm = "nginx"},
                                      .group = {.pod_uid = "u", .container = "c0ffee"}};
    const struct audit_open open = open_of(&nginx);
    char line[AUDIT_LINE_SIZE];
    size_t len = audit_line_open(&of_pod, &open, line);

    assert_int_equal(len, strlen(line));
    assert_string_equal(line,
                        "{\"time\":\"1970-01-01T00:00:01.002Z\",\"event\":\"open\","
                        "\"namespace\":\"prod\",\"pod\":\"web-0\",\"podUID\":\"u\","
                        "\"container\":\"c0ffee\",\"uid\":101,\"process\":\"nginx\",\"pid\":7,"
                        "\"object\":\"secret/prod/db\",\"key\":\"password\","
                        "\"resourceVersion\":\"12\"}\n");
}

static void test_process_that_was_not_identified(void **state)
{
    static const struct audit_volume mount = {.namespace = "prod", .mountpoint = "/run/db"};
    struct audit_open open = open_of(NULL);
    char line[AUDIT_LINE_SIZE];

    open.pid = 0;
    open.version = "";
    audit_line_open(&mount, &open, line);
    assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:01.002Z\",\"event\":\"open\","
                              "\"mountpoint\":\"/run/db\",\"object\":\"secret/prod/db\","
                              "\"key\":\"password\"}\n");
}

static void test_dropped_and_lost(void **state)
{
    char line[AUDIT_LINE_SIZE];

    audit_line_dropped(&of_pod, at, 17, line);
    assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:01.002Z\",\"event\":\"dropped\","
                              "\"namespace\":\"prod\",\"pod\":\"web-0\",\"count\":17}\n");
    audit_line_dropped(NULL, at, 3, line);
    assert_string_equal(
        line, "{\"time\":\"1970-01-01T00:00:01.002Z\",\"event\":\"dropped\",\"count\":3}\n");
    audit_line_lost(at, line);
    assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:01.002Z\",\"event\":\"lost\"}\n");
}

/* Each byte there is, in each text that is not the API server's. */
static void test_names_of_any_bytes(void **state)
{
    struct consumer_identity process = {.process = {.pid = 7}};
    const struct audit_open open = open_of(&process);
    char name[257], line[AUDIT_LINE_SIZE];

    for (int c = 1; c < 256; c++) {
        const struct audit_volume volume = {.namespace = "prod", .mountpoint = name};
        _cleanup_(cJSON_Deletep) cJSON *json = NULL;
        struct error e;

        snprintf(name, sizeof(name), "/%c", c);
        snprintf(process.process.comm, sizeof(process.process.comm), "%c", c);
        audit_line_open(&volume, &open, line);
        assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
        for (const char *byte = line; *byte != '\n'; byte++)
            assert_true(*byte >= ' ' && *byte < 0x7f);
        assert_int_equal(json_parse(line, strlen(line), &json, &e), 0);
        assert_int_equal(json_text(json, "process")[0], c < ' ' || c >= 0x7f ? '?' : c);
        assert_int_equal(json_text(json, "mountpoint")[1], c < ' ' || c >= 0x7f ? '?' : c);
    }
}

static char *filled(char *text, size_t size)
{
    memset(text, '"', size - 1);
    text[size - 1] = '\0';
    return text;
}

static void test_longest_line(void **state)
{
    static char text[5000], line[AUDIT_LINE_SIZE];
    struct consumer_identity process = {.process = {.uid = UINT32_MAX}};
    const struct object_key object = {
        .kind = OBJECT_CONFIGMAP, .namespace = filled(text, sizeof(text)), .name = text};
    const struct audit_volume volume = {.namespace = text, .pod = text, .mountpoint = text};
    const struct audit_open open = {.at = at,
                                    .identity = &process,
                                    .pid = INT32_MAX,
                                    .object = &object,
                                    .key = text,
                                    .version = text};
    size_t len;

    filled(process.process.comm, sizeof(process.process.comm));
    filled(process.group.unit, sizeof(process.group.unit));
    filled(process.group.pod_uid, sizeof(process.group.pod_uid));
    filled(process.group.container, sizeof(process.group.container));
    len = audit_line_open(&volume, &open, line);
    assert_true(len < AUDIT_LINE_SIZE && line[len - 1] == '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_process_that_was_not_identified),
        cmocka_unit_test(test_dropped_and_lost),
        cmocka_unit_test(test_names_of_any_bytes),
        cmocka_unit_test(test_longest_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
