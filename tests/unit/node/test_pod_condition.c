/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "node/pod_condition.h"

#define DB  "secret/prod/db@12"
#define API "configmap/prod/api@7"

static struct condition of(const struct condition_volume *volumes, size_t n)
{
    struct condition condition = {.has_volumes = false};

    for (size_t i = 0; i < n; i++)
        condition_add(&condition, &volumes[i]);
    return condition;
}

/* ---- a volume */

static const struct {
    struct condition_volume volume;
    const char *status, *reason, *message;
} volumes[] = {
    {{DB, READER_CURRENT, CONDITION_GAP_NONE, "", false}, "True", "AllConsumersCurrent", DB},
    {{DB, READER_CURRENT, CONDITION_GAP_NONE, "container web", false},
     "False",
     "OldVersionInUse",
     DB ": not opened yet by container web"},
    {{DB, READER_CURRENT, CONDITION_GAP_NONE, "", true},
     "False",
     "OldVersionInUse",
     DB ": files of an older version are open"},
    {{DB, READER_HELD, CONDITION_GAP_NONE, "", false},
     "False",
     "UpdateHeld",
     DB ": an update is held"},
    {{DB, READER_HELD, CONDITION_GAP_MISSED, "container web", true},
     "False",
     "UpdateHeld",
     DB ": an update is held"},
    {{DB, READER_STALE, CONDITION_GAP_NONE, "", false},
     "False",
     "UpdateHeld",
     DB ": the newest version is incomplete or invalid"},
    {{DB, READER_FAILING, CONDITION_GAP_NONE, "", false},
     "False",
     "UpdateHeld",
     DB ": publishing the newest version fails"},
    {{DB, READER_DISCONNECTED, CONDITION_GAP_NONE, "", false},
     "False",
     "SourceDisconnected",
     DB ": the source cannot be reached"},
    {{DB, READER_DISCONNECTED, CONDITION_GAP_NOT_NOTED, "", false},
     "False",
     "SourceDisconnected",
     DB ": the source cannot be reached"},
    {{DB, READER_DISCONNECTED, CONDITION_GAP_NONE, "container web", false},
     "False",
     "OldVersionInUse",
     DB ": not opened yet by container web"},
    /* a consumer that is old is certain, also where others may be missing */
    {{DB, READER_CURRENT, CONDITION_GAP_MISSED, "container web", false},
     "False",
     "OldVersionInUse",
     DB ": not opened yet by container web"},
    {{DB, READER_CURRENT, CONDITION_GAP_NOT_NOTED, "", false},
     "Unknown",
     "ConsumersUnknown",
     DB ": its consumers are not noted (--consumers)"},
    {{DB, READER_CURRENT, CONDITION_GAP_NO_POD, "", false},
     "Unknown",
     "ConsumersUnknown",
     DB ": the pod cannot be watched"},
    {{DB, READER_CURRENT, CONDITION_GAP_EARLIER, "", false},
     "Unknown",
     "ConsumersUnknown",
     DB ": a container started before its opens were noted; restart it"},
    {{DB, READER_CURRENT, CONDITION_GAP_MISSED, "", false},
     "Unknown",
     "ConsumersUnknown",
     DB ": opens were missed; delete the pod"},
    {{DB, READER_CURRENT, CONDITION_GAP_BEHIND, "", false},
     "Unknown",
     "ConsumersUnknown",
     DB ": many files are being opened"},
};

static void test_volumes(void **state)
{
    for (size_t i = 0; i < ELEMENTS_OF(volumes); i++) {
        struct condition c = of(&volumes[i].volume, 1);

        assert_true(c.has_volumes);
        assert_string_equal(condition_status_name(c.reason), volumes[i].status);
        assert_string_equal(condition_reason_name(c.reason), volumes[i].reason);
        assert_string_equal(c.message, volumes[i].message);
        assert_string_equal(c.objects, DB);
    }
}

/* ---- a pod */

static const struct condition_volume current = {DB, READER_CURRENT, CONDITION_GAP_NONE, "", false};
static const struct condition_volume old = {API, READER_CURRENT, CONDITION_GAP_NONE,
                                            "container web", false};
static const struct condition_volume held = {API, READER_HELD, CONDITION_GAP_NONE, "", false};

static void expect(const struct condition_volume *list, size_t n, enum condition_reason reason,
                   const char *message)
{
    struct condition c = of(list, n);

    assert_int_equal(c.reason, reason);
    assert_string_equal(c.message, message);
}

/* The worst counts, wherever it stands; volumes of the same reason are listed. */
static void test_several_volumes(void **state)
{
    struct condition_volume list[] = {current, current, current};

    list[1].objects = API;
    expect(list, 2, CONDITION_CURRENT, DB ", " API);
    list[0] = old;
    list[1] = current;
    expect(list, 2, CONDITION_OLD_IN_USE, API ": not opened yet by container web");
    list[0] = current;
    list[1] = old;
    expect(list, 2, CONDITION_OLD_IN_USE, API ": not opened yet by container web");
    list[0] = list[1] = old;
    list[1].objects = DB;
    expect(list, 3, CONDITION_OLD_IN_USE,
           API ": not opened yet by container web; " DB ": not opened yet by container web");
    list[2] = held;
    expect(list, 3, CONDITION_HELD, API ": an update is held");
}

static void test_long_message(void **state)
{
    char text[CONDITION_MESSAGE_SIZE];
    struct condition_volume list[] = {current, current};
    struct condition c;

    memset(text, 'o', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    list[1].objects = text;
    c = of(list, 2);
    assert_string_equal(c.message, DB);
    list[1].old = text;
    c = of(list, 2);
    assert_int_equal(c.reason, CONDITION_OLD_IN_USE);
    assert_true(strlen(c.message) < CONDITION_MESSAGE_SIZE);
}

/* ---- when it is written, on a clock of the test */

static const struct timespec noon = {.tv_sec = 43200};
static const struct timespec later = {.tv_sec = 43260};

/* Write what is due at once. Return: the time until the next write. */
static span_us step(struct condition_known *known, const struct condition_volume *volume,
                    struct timespec now)
{
    struct condition c = of(volume, 1);
    span_us delay;

    condition_keep_proof(&c, known);
    delay = condition_delay(&c, known, false);
    if (delay == 0)
        condition_note_written(known, &c, now);
    return delay;
}

static void test_one_write_for_each_transition(void **state)
{
    struct condition_known known = {.status = ""};

    assert_int_equal(step(&known, &current, noon), 0);
    assert_string_equal(known.status, "True");
    assert_string_equal(known.last_transition, "1970-01-01T12:00:00.000Z");
    assert_int_equal(step(&known, &current, later), SPAN_FOREVER);
    assert_int_equal(step(&known, &old, later), 0);
    assert_string_equal(known.status, "False");
    assert_string_equal(known.last_transition, "1970-01-01T12:01:00.000Z");
    assert_int_equal(step(&known, &old, later), SPAN_FOREVER);
}

/* The time of the transition is the status's, not the reason's. */
static void test_transition_time_stays_with_the_status(void **state)
{
    struct condition_known known = {.status = ""};

    assert_int_equal(step(&known, &old, noon), 0);
    assert_int_equal(step(&known, &held, later), 0);
    assert_string_equal(known.reason, "UpdateHeld");
    assert_string_equal(known.last_transition, "1970-01-01T12:00:00.000Z");
}

static void test_new_version_is_a_transition(void **state)
{
    struct condition_known known = {.status = ""};
    struct condition_volume next = current;

    next.objects = "secret/prod/db@13";
    assert_int_equal(step(&known, &current, noon), 0);
    assert_int_equal(step(&known, &next, later), 0);
    assert_string_equal(known.message, "secret/prod/db@13");
    assert_string_equal(known.last_transition, "1970-01-01T12:00:00.000Z");
}

static void test_what_often_ends_by_itself_settles(void **state)
{
    struct condition_known known = {.status = ""};
    struct condition_volume away = current, behind = current, open = current;

    away.reader = READER_DISCONNECTED;
    behind.gap = CONDITION_GAP_BEHIND;
    open.has_held_files = true;
    assert_int_equal(step(&known, &away, noon), SPAN_SEC(30));
    assert_int_equal(step(&known, &behind, noon), SPAN_SEC(2));
    assert_int_equal(step(&known, &open, noon), SPAN_SEC(2));
    open.old = "container web";
    assert_int_equal(step(&known, &open, noon), 0);
    assert_int_equal(step(&known, &open, noon), SPAN_FOREVER);
}

/* A pod that ends must not keep a proof that has become wrong; nothing else is of use. */
static void test_pod_that_ends(void **state)
{
    struct condition c = of(&old, 1), good = of(&current, 1);
    struct condition_known known = {.status = ""};

    assert_int_equal(condition_delay(&c, &known, true), SPAN_FOREVER);
    condition_note_written(&known, &good, noon);
    assert_int_equal(condition_delay(&c, &known, true), 0);
    condition_note_written(&known, &c, noon);
    assert_int_equal(condition_delay(&good, &known, true), SPAN_FOREVER);
    assert_int_equal(condition_delay(&good, &known, false), 0);
}

static void test_no_volume(void **state)
{
    struct condition c = {.has_volumes = false};
    struct condition_known known = {.status = "True"};

    assert_int_equal(condition_delay(&c, &known, false), SPAN_FOREVER);
}

/* ---- after a restart of the daemon */

static void test_proof_of_an_earlier_process(void **state)
{
    struct condition_volume earlier = current;
    struct condition_known known = {
        .status = "True", .reason = "AllConsumersCurrent", .message = DB};

    earlier.gap = CONDITION_GAP_EARLIER;
    assert_int_equal(step(&known, &earlier, noon), SPAN_FOREVER);
    earlier.objects = "secret/prod/db@13"; /* an update: who has opened it is unknown */
    assert_int_equal(step(&known, &earlier, noon), 0);
    assert_string_equal(known.status, "Unknown");
    earlier.objects = DB;
    assert_int_equal(step(&known, &earlier, noon), 0);
    assert_string_equal(known.status, "Unknown");
}

static void test_proof_does_not_cover_missed_opens(void **state)
{
    struct condition_volume list[] = {current, current};
    struct condition_known known = {
        .status = "True", .reason = "AllConsumersCurrent", .message = DB ", " DB};
    struct condition c;

    list[0].gap = CONDITION_GAP_EARLIER;
    c = of(list, 2);
    condition_keep_proof(&c, &known);
    assert_int_equal(c.reason, CONDITION_CURRENT);
    list[1].gap = CONDITION_GAP_MISSED;
    c = of(list, 2);
    condition_keep_proof(&c, &known);
    assert_int_equal(c.reason, CONDITION_UNKNOWN);
}

static void test_polling(void **state)
{
    static const bool polls[CONDITION_REASONS] = {
        [CONDITION_UNKNOWN] = true, [CONDITION_OLD_IN_USE] = true};

    for (int reason = 0; reason < CONDITION_REASONS; reason++) {
        const struct condition c = {.has_volumes = true, .reason = (enum condition_reason)reason};

        assert_int_equal(condition_needs_polling(&c), polls[reason]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_several_volumes),
        cmocka_unit_test(test_long_message),
        cmocka_unit_test(test_one_write_for_each_transition),
        cmocka_unit_test(test_transition_time_stays_with_the_status),
        cmocka_unit_test(test_new_version_is_a_transition),
        cmocka_unit_test(test_what_often_ends_by_itself_settles),
        cmocka_unit_test(test_pod_that_ends),
        cmocka_unit_test(test_no_volume),
        cmocka_unit_test(test_proof_of_an_earlier_process),
        cmocka_unit_test(test_proof_does_not_cover_missed_opens),
        cmocka_unit_test(test_polling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
