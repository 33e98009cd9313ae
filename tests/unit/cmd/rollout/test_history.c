/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rollout/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define ENTRY(object, version, time)                                                               \
    "{\"object\":\"" object "\",\"resourceVersion\":\"" version "\",\"time\":\"" time "\"}"
#define HISTORY(entries) "\"debug\":{\"history\":[" entries "]}"
#define DB               "{\"kind\":\"Secret\",\"namespace\":\"prod\",\"name\":\"db\"}"
#define WEB              "{\"kind\":\"ConfigMap\",\"namespace\":\"prod\",\"name\":\"web\"}"

static const char list_text[] =
    "{\"items\":["
    "{\"mountpoint\":\"/a\",\"pod\":\"prod/web-0\",\"object\":" DB
    "," HISTORY(ENTRY("secret/prod/db", "1", "T1") "," ENTRY(
        "secret/prod/db", "2",
        "T2")) "},"
               "{\"mountpoint\":\"/run/all\",\"objects\":[" DB "," WEB
               "]," HISTORY(ENTRY("configmap/prod/web", "7", "T3") "," ENTRY(
                   "secret/prod/db", "2",
                   "T4")) "},"
                          "{\"mountpoint\":\"/b\",\"pod\":\"prod/web-1\",\"object\":" WEB
                          "," HISTORY(ENTRY(
                              "configmap/prod/web", "7",
                              "T5")) "},"
                                     "{\"mountpoint\":\"/dead\",\"volume\":{\"state\":\"dead\"}}]}";

static int print(const struct status_filter *filter, struct buf *lines)
{
    _cleanup_(cJSON_Deletep) cJSON *list = cJSON_Parse(list_text);

    assert_non_null(list);
    return rollout_history(list, filter, lines);
}

static void test_versions_of_the_object_alone(void **state)
{
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(65536);

    assert_int_equal(print(&(struct status_filter){.object = "secret/db"}, &lines), 0);
    assert_string_equal(buf_text(&lines), "VOLUME       VERSION        SHOWN\n"
                                          "prod/web-0   1              T1\n"
                                          "prod/web-0   2              T2\n"
                                          "/run/all     2              T4\n");
}

static void test_volumes_that_do_not_show_it(void **state)
{
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(65536);
    const struct status_filter other = {.object = "secret/db", .namespace = "other"};

    assert_int_equal(print(&(struct status_filter){.object = "secret/web"}, &lines), -ENOENT);
    assert_int_equal(print(&other, &lines), -ENOENT);
    assert_string_equal(buf_text(&lines), "");
}

/* After a hand-over, say. */
static void test_volumes_without_a_version(void **state)
{
    _cleanup_(cJSON_Deletep) cJSON *list =
        cJSON_Parse("{\"items\":[{\"mountpoint\":\"/m\",\"object\":" DB "," HISTORY("") "}]}");
    _cleanup_(buf_deinit) struct buf lines = BUF_INIT(65536);
    const struct status_filter filter = {.object = "secret/db"};

    assert_non_null(list);
    assert_int_equal(rollout_history(list, &filter, &lines), -ENODATA);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes_without_a_version),
        cmocka_unit_test(test_versions_of_the_object_alone),
        cmocka_unit_test(test_volumes_that_do_not_show_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
