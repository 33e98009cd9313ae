/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rollout/verdict.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct timespec now = {.tv_sec = 1767323045}; /* 2026-01-02T03:04:05Z */

#define KEY(object, state)                                                                         \
    "{\"object\":\"" object "\",\"key\":\"a\",\"state\":\"" state "\",\"resourceVersion\":\"7\"}"
#define CONSUMER(pid, keys)                                                                        \
    "{\"process\":\"web\",\"pid\":" pid ",\"keys\":[" keys                                         \
    "],\"lastOpen\":\"2026-01-02T03:04:00Z\"}"
#define VOLUME(state, consumers)                                                                   \
    "{\"mountpoint\":\"/m\",\"pod\":\"prod/web-0\",\"object\":{\"kind\":\"Secret\","               \
    "\"namespace\":\"prod\",\"name\":\"db\",\"resourceVersion\":\"8\"},\"volume\":{"               \
    "\"state\":\"" state "\"" consumers "}}"
#define CONSUMERS(list) ",\"consumers\":{\"list\":[" list "],\"heldFiles\":0,\"oldGenerations\":0}"
#define ITEMS(items)    "{\"items\":[" items "]}"
#define HEADER                                                                                     \
    "VOLUME       CONTAINER      PROCESS                    STATE     VERSION      OPENED\n"
#define ROW(pid, state)                                                                            \
    "prod/web-0   -              web (" pid ")                   " state "   7            5s\n"

struct outcome {
    struct rollout_verdict verdict;
    struct buf lines;
    struct buf reasons;
};

static void outcome_deinit(struct outcome *o)
{
    buf_deinit(&o->lines);
    buf_deinit(&o->reasons);
}

static struct outcome judge(const char *list, const struct rollout_query *query)
{
    struct outcome o = {.lines = BUF_INIT(10000), .reasons = BUF_INIT(10000)};
    cJSON *json = NULL;

    assert_int_equal(json_parse(list, strlen(list), &json, NULL), 0);
    assert_int_equal(rollout_judge(json, query, now, &o.verdict, &o.lines, &o.reasons), 0);
    cJSON_Delete(json);
    return o;
}

#define JUDGE(o, list, ...)                                                                        \
    const struct rollout_query o##_query = {__VA_ARGS__};                                          \
    _cleanup_(outcome_deinit) struct outcome o = judge(list, &o##_query)

#define OF_DB .object = {.object = "secret/db"}

static void test_all_current(void **state)
{
    JUDGE(o,
          ITEMS(VOLUME(
              "current",
              CONSUMERS(CONSUMER(
                  "41", KEY("secret/prod/db",
                            "current")))) "," VOLUME("current",
                                                     CONSUMERS(CONSUMER(
                                                         "42", KEY("secret/prod/db", "current"))))),
          OF_DB);

    assert_int_equal(o.verdict.state, ROLLOUT_DONE);
    assert_int_equal(o.verdict.n_volumes, 2);
    assert_int_equal(o.verdict.n_consumers, 2);
    assert_int_equal(o.verdict.n_current, 2);
    assert_string_equal(buf_text(&o.lines), HEADER ROW("41", "current") ROW("42", "current"));
    assert_string_equal(buf_text(&o.reasons), "");
}

static void test_one_is_old(void **state)
{
    JUDGE(o,
          ITEMS(VOLUME(
              "current",
              CONSUMERS(CONSUMER("41", KEY("secret/prod/db", "current")) "," CONSUMER(
                  "42", KEY("secret/prod/db", "current") "," KEY("secret/prod/db", "old"))))),
          OF_DB);

    assert_int_equal(o.verdict.state, ROLLOUT_WAITING);
    assert_int_equal(o.verdict.n_current, 1);
    assert_string_equal(buf_text(&o.lines), HEADER ROW("41", "current") ROW("42", "old    "));
    assert_string_equal(buf_text(&o.reasons),
                        "prod/web-0: web (42) has not opened the newest version\n");
}

#define PROJECTED                                                                                  \
    ITEMS(                                                                                         \
        "{\"mountpoint\":\"/m\",\"objects\":[{\"kind\":\"Secret\",\"namespace\":\"prod\","         \
        "\"name\":\"db\"},{\"kind\":\"ConfigMap\",\"namespace\":\"prod\",\"name\":\"x\"}],"        \
        "\"volume\":{\"state\":\"current\"" CONSUMERS(                                             \
            CONSUMER("41", KEY("configmap/prod/x", "old")) "," CONSUMER(                           \
                "42", KEY("configmap/prod/x", "old") "," KEY("secret/prod/db", "current"))) "}}")

static void test_other_objects_of_a_projected_volume_do_not_count(void **state)
{
    JUDGE(db, PROJECTED, OF_DB);
    JUDGE(x, PROJECTED, .object = {.object = "cm/x"});
    JUDGE(all, PROJECTED, .resource_version = NULL);

    assert_int_equal(db.verdict.state, ROLLOUT_DONE);
    assert_int_equal(db.verdict.n_consumers, 1);
    assert_int_equal(x.verdict.state, ROLLOUT_WAITING);
    assert_int_equal(x.verdict.n_consumers, 2);
    assert_int_equal(all.verdict.state, ROLLOUT_WAITING);
}

static void test_volumes_of_other_objects_do_not_count(void **state)
{
    JUDGE(o, ITEMS(VOLUME("stale", "")), .object = {.object = "secret/other"});

    assert_int_equal(o.verdict.state, ROLLOUT_DONE);
    assert_int_equal(o.verdict.n_volumes, 0);
}

static void test_volume_that_is_not_current(void **state)
{
    JUDGE(o, ITEMS(VOLUME("held", ",\"error\":\"expired\"" CONSUMERS(""))), OF_DB);

    assert_int_equal(o.verdict.state, ROLLOUT_WAITING);
    assert_string_equal(buf_text(&o.reasons), "prod/web-0: the volume is held: expired\n");
}

static void test_version_that_has_not_arrived(void **state)
{
    JUDGE(late, ITEMS(VOLUME("current", CONSUMERS(""))), OF_DB, .resource_version = "9");
    JUDGE(here, ITEMS(VOLUME("current", CONSUMERS(""))), OF_DB, .resource_version = "8");

    assert_int_equal(late.verdict.state, ROLLOUT_WAITING);
    assert_string_equal(buf_text(&late.reasons), "prod/web-0: the volume shows version 8, not 9\n");
    assert_int_equal(here.verdict.state, ROLLOUT_DONE);
}

static void test_held_files(void **state)
{
    JUDGE(open, ITEMS(VOLUME("current", ",\"consumers\":{\"heldFiles\":2}")), OF_DB);
    JUDGE(going, ITEMS(VOLUME("current", ",\"consumers\":{\"oldGenerations\":1}")), OF_DB);
    JUDGE(behind, ITEMS(VOLUME("current", ",\"consumers\":{\"opensWait\":true}")), OF_DB);

    assert_int_equal(open.verdict.state, ROLLOUT_WAITING);
    assert_string_equal(buf_text(&open.reasons),
                        "prod/web-0: processes have 2 files of older versions open or mapped\n");
    assert_int_equal(going.verdict.state, ROLLOUT_WAITING);
    assert_int_equal(behind.verdict.state, ROLLOUT_WAITING);
}

/* None of these is ever "done", even if each consumer that is known is current. */
static void test_what_was_not_seen(void **state)
{
    static const char *const lists[] = {
        ITEMS(VOLUME("current", "")),
        ITEMS(VOLUME("current", ",\"consumers\":{\"known\":false}")),
        ITEMS(VOLUME("current", ",\"consumers\":{\"notSeen\":[\"why\"]}")),
        ITEMS(VOLUME("current", CONSUMERS("")) ",{\"mountpoint\":\"/d\",\"volume\":{\"state\":"
                                               "\"dead\"}}"),
        "{\"items\":[" VOLUME("current", CONSUMERS("")) "],\"errors\":[\"no answer\"]}",
    };

    for (size_t i = 0; i < ELEMENTS_OF(lists); i++) {
        JUDGE(o, lists[i], OF_DB);
        assert_int_equal(o.verdict.state, ROLLOUT_UNSEEN);
        assert_true(o.reasons.len > 0);
    }
}

/* The worst state counts, in any order. */
static void test_unseen_is_worse_than_waiting(void **state)
{
    JUDGE(o, ITEMS(VOLUME("current", "") "," VOLUME("held", CONSUMERS(""))), OF_DB);

    assert_int_equal(o.verdict.state, ROLLOUT_UNSEEN);
}

static void test_container_and_ended_process(void **state)
{
    JUDGE(o,
          ITEMS(VOLUME("current", CONSUMERS("{\"process\":\"cat\",\"container\":"
                                            "\"0123456789abcdef0123456789abcdef\",\"keys\":[" KEY(
                                                "secret/prod/db", "current") "]}"))),
          OF_DB);

    assert_string_equal(
        buf_text(&o.lines),
        HEADER "prod/web-0   0123456789ab   cat (ended)                current   7            -\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_current),
        cmocka_unit_test(test_one_is_old),
        cmocka_unit_test(test_other_objects_of_a_projected_volume_do_not_count),
        cmocka_unit_test(test_volumes_of_other_objects_do_not_count),
        cmocka_unit_test(test_volume_that_is_not_current),
        cmocka_unit_test(test_version_that_has_not_arrived),
        cmocka_unit_test(test_held_files),
        cmocka_unit_test(test_what_was_not_seen),
        cmocka_unit_test(test_unseen_is_worse_than_waiting),
        cmocka_unit_test(test_container_and_ended_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
