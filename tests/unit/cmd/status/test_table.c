/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "cmd/status/table.h"

#include "tests/unit/failmalloc.h"

static const struct timespec now = {.tv_sec = 1767323045}; /* 2026-01-02T03:04:05Z */

#define SIMPLE                                                                                     \
    "{\"mountpoint\":\"/mnt/db\",\"object\":{\"kind\":\"Secret\",\"namespace\":\"prod\","          \
    "\"name\":\"db\",\"resourceVersion\":\"12\"},\"volume\":{\"state\":\"current\","               \
    "\"generation\":\"..g1\",\"files\":2,\"bytes\":10,\"mountedAlone\":{\"count\":1,"              \
    "\"live\":false}},\"source\":{\"state\":"                                                      \
    "\"live\"},\"lastUpdate\":{\"time\":\"2026-01-02T03:00:05Z\",\"latencySeconds\":0.0012345,"    \
    "\"count\":3},\"pid\":77}"
#define PROJECTED                                                                                  \
    "{\"mountpoint\":\"/var/lib/a b\\n\",\"pod\":\"prod/web-0\",\"objects\":[{\"kind\":"           \
    "\"ConfigMap\",\"namespace\":\"prod\",\"name\":\"a\",\"resourceVersion\":\"1\"},{\"kind\":"    \
    "\"Secret\",\"namespace\":\"prod\",\"name\":\"b\"},{\"kind\":\"Secret\",\"namespace\":"        \
    "\"prod\",\"name\":\"c\",\"resourceVersion\":\"3\"},{\"kind\":\"Secret\",\"namespace\":"       \
    "\"prod\",\"name\":\"d\"},{\"kind\":\"Secret\",\"namespace\":\"prod\",\"name\":\"e\"}],"       \
    "\"volume\":{\"name\":\"all\",\"state\":\"stale\",\"error\":\"two\\nlines, \\\\ and more\"},"  \
    "\"source\":{\"state\":\"failing\",\"error\":\"not this\"}}"
#define BARE "{\"mountpoint\":\"/x\",\"source\":{\"state\":\"failing\",\"error\":\"no answer\"}}"

static cJSON *parse(const char *text)
{
    struct error e = ERROR_INIT;
    cJSON *json = NULL;

    if (json_parse(text, strlen(text), &json, &e) < 0)
        fail_msg("%s", e.text);
    return json;
}

static void assert_table(struct status_table *table, const char *volumes, const char *expected)
{
    struct buf text = BUF_INIT(10000);
    cJSON *json = parse(volumes);

    assert_int_equal(status_table_print(table, json, now, &text), 0);
    assert_string_equal(buf_text(&text), expected);
    cJSON_Delete(json);
    buf_deinit(&text);
}

#define OF_A_POD                                                                                   \
    "{\"mountpoint\":\"/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/creds/mount\","           \
    "\"pod\":\"prod/web-0\",\"volume\":{\"name\":\"other\",\"state\":\"held\"}}"
#define STATIC                                                                                     \
    "{\"mountpoint\":\"/run/app\",\"static\":\"app-tls\",\"volume\":{\"state\":\"current\"}}"
#define NAMED "{\"mountpoint\":\"/mnt/n\",\"volume\":{\"name\":\"web\",\"state\":\"dead\"}}"

static void test_columns(void **state)
{
    struct status_table table = {0};

    assert_table(
        &table, "[" SIMPLE "," BARE "]",
        "POD   VOLUME    OBJECT           STATE     VERSION   AGE   READERS   ERROR\n"
        "-     /mnt/db   secret/prod/db   current   12        4m    -         -\n"
        "-     /x        -                -         -         -     -         no answer\n");
    /* what comes later is not given another header, and stands below what is there */
    assert_table(
        &table, "[" BARE "]",
        "-     /x        -                -         -         -     -         no answer\n");
}

static void test_nodes_of_a_cluster(void **state)
{
    struct status_table table = {.has_nodes = true};

    assert_table(&table, "[{\"node\":\"n1\",\"mountpoint\":\"/m\"}]",
                 "NODE   POD   VOLUME   OBJECT   STATE   VERSION   AGE   READERS   ERROR\n"
                 "n1     -     /m       -        -       -         -     -         -\n");
}

static void test_names_of_volumes(void **state)
{
    struct status_table table = {.has_header = true};

    assert_table(&table, "[" OF_A_POD "," STATIC "," NAMED "]",
                 "prod/web-0   creds     -   held      -   -   -   -\n"
                 "-            app-tls   -   current   -   -   -   -\n"
                 "-            web       -   dead      -   -   -   -\n");
}

#define READ(known, list)                                                                          \
    "{\"mountpoint\":\"/m\",\"volume\":{\"consumers\":{" known "\"list\":[" list "]}}}"

static void test_readers(void **state)
{
    struct status_table table = {.has_header = true};

    assert_table(&table,
                 "[" READ("", "") "," READ("\"known\":false,", "") "," READ(
                     "", "{\"state\":\"current\"},{\"state\":\"old\"},{\"state\":\"current\"}") "]",
                 "-   /m   -   -   -   -   0/0   -\n"
                 "-   /m   -   -   -   -   -     -\n"
                 "-   /m   -   -   -   -   2/3   -\n");
}

static void test_colours(void **state)
{
    struct status_table table = {.is_coloured = true};

    /* the state alone, and columns align as without */
    assert_table(
        &table, "[" OF_A_POD "," STATIC "," NAMED "]",
        "POD          VOLUME    OBJECT   STATE     VERSION   AGE   READERS   ERROR\n"
        "prod/web-0   creds     -        \033[33mheld\033[0m      -         -     -         -\n"
        "-            app-tls   -        \033[32mcurrent\033[0m   -         -     -         -\n"
        "-            web       -        \033[31mdead\033[0m      -         -     -         -\n");
}

static void test_many_objects_and_odd_characters(void **state)
{
    struct status_table table = {.has_header = true};

    assert_table(&table, "[" PROJECTED "]",
                 "prod/web-0   all   configmap/prod/a,secret/prod/b,secret/prod/c,+2   stale   "
                 "1,-,3,+2   -   -   two\\012lines, \\ and more\n");
    table = (struct status_table){.has_header = true, .is_wide = true};
    assert_table(&table, "[{\"mountpoint\":\"/var/lib/a b\\n\"}]",
                 "-   /var/lib/a\\040b\\012   -   -   -   -   -   -   -   -   -   -   -   -   -   "
                 "/var/lib/a\\040b\\012   -\n");
}

static void test_wide(void **state)
{
    struct status_table table = {.has_header = true, .is_wide = true};

    assert_table(
        &table, "[" SIMPLE "]",
        "-   /mnt/db   secret/prod/db   current   12   4m   -   live   1,stale   2   10   3   "
        "1.234ms   77   ..g1   /mnt/db   -\n");
}

static void test_what_is_long_is_cut(void **state)
{
    struct status_table table = {.has_header = true};
    char document[4000], blanks[2001];
    struct buf text = BUF_INIT(10000);
    cJSON *json;

    memset(blanks, ' ', sizeof(blanks) - 1);
    blanks[sizeof(blanks) - 1] = '\0';
    snprintf(document, sizeof(document), "[{\"mountpoint\":\"/%s\"}]", blanks);
    json = parse(document);
    assert_int_equal(status_table_print(&table, json, now, &text), 0);
    assert_true(text.len < 1200);
    assert_non_null(strstr(buf_text(&text), "\\040\\040"));
    buf_deinit(&text);
    text = BUF_INIT(100);
    assert_int_equal(status_table_print(&table, json, now, &text), -EFBIG);
    buf_deinit(&text);
    cJSON_Delete(json);
}

static void test_sameness(void **state)
{
    const struct status_table narrow = {0}, wide = {.is_wide = true};
    cJSON *a = parse(SIMPLE), *b = parse(SIMPLE), *c = parse(BARE);
    cJSON *update = cJSON_GetObjectItem(b, "lastUpdate");

    assert_true(status_table_same(&wide, a, b));
    assert_false(status_table_same(&narrow, a, c));
    cJSON_SetNumberValue(cJSON_GetObjectItem(update, "count"), 4);
    assert_true(status_table_same(&narrow, a, b));
    assert_false(status_table_same(&wide, a, b));
    /* the age alone is not a change */
    assert_non_null(cJSON_SetValuestring(cJSON_GetObjectItem(update, "time"), "2026"));
    assert_true(status_table_same(&narrow, a, b));
    cJSON_Delete(a);
    cJSON_Delete(b);
    cJSON_Delete(c);
}

static void test_ages(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {119, "119s"},
        {120, "2m"},
        {200, "3m20s"},
        {600, "10m"},
        {3 * 3600 - 1, "179m"},
        {3 * 3600 + 61, "3h1m"},
        {8 * 3600, "8h"},
        {47 * 3600, "47h"},
        {2 * 86400 + 4 * 3600, "2d4h"},
        {8 * 86400, "8d"},
        {730 * 86400, "2y"},
        {(uint64_t)1100 * 86400, "3y5d"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++)
        assert_string_equal(status_age(cases[i].seconds, (char[STATUS_AGE_SIZE]){""}),
                            cases[i].text);
}

static int try_printing(void *userdata)
{
    struct status_table table = {0};
    struct buf text = BUF_INIT(10000);
    int r = status_table_print(&table, userdata, now, &text);

    buf_deinit(&text);
    return r;
}

static void test_without_memory(void **state)
{
    cJSON *json = parse("[" SIMPLE "," PROJECTED "," BARE "]");

    failmalloc_try(try_printing, json);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_nodes_of_a_cluster),
        cmocka_unit_test(test_names_of_volumes),
        cmocka_unit_test(test_readers),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_many_objects_and_odd_characters),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_what_is_long_is_cut),
        cmocka_unit_test(test_sameness),
        cmocka_unit_test(test_ages),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
