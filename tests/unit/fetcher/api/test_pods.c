/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/pods.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "encoding/json.h"

#define DRIVER "csi.secretfs.io"

static struct pod *make(unsigned number)
{
    cJSON *json = NULL;
    struct pod *pod = NULL;
    char text[256];

    snprintf(text, sizeof(text),
             "{\"metadata\":{\"namespace\":\"prod\",\"name\":\"web-%u\",\"uid\":\"u%u\"},"
             "\"spec\":{\"volumes\":[{\"name\":\"a\",\"csi\":{\"driver\":\"" DRIVER "\"}}]}}",
             number, number);
    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    assert_int_equal(pod_decode(json, DRIVER, &pod), 0);
    cJSON_Delete(json);
    return pod;
}

static bool has(const struct pods *pods, unsigned number)
{
    char name[16], uid[16];

    snprintf(name, sizeof(name), "web-%u", number);
    snprintf(uid, sizeof(uid), "u%u", number);
    return pods_find(pods, "prod", name, uid) != NULL;
}

static void test_put_and_remove(void **state)
{
    struct pods pods;

    pods_init(&pods);
    assert_false(has(&pods, 1));
    assert_non_null(pods_put(&pods, make(1)));
    assert_non_null(pods_put(&pods, make(2)));
    assert_non_null(pods_put(&pods, make(1)));
    assert_int_equal(pods.n, 2);
    assert_true(has(&pods, 1));
    assert_true(has(&pods, 2));
    assert_null(pods_find(&pods, "prod", "web-1", "u2"));
    assert_null(pods_find(&pods, "test", "web-1", "u1"));
    pods_remove(&pods, "u1");
    pods_remove(&pods, "u1");
    assert_false(has(&pods, 1));
    assert_int_equal(pods.n, 1);
    pods_deinit(&pods);
    assert_int_equal(pods.n, 0);
}

static void test_rounds(void **state)
{
    struct pods pods;

    pods_init(&pods);
    pods_begin_round(&pods);
    pods_put(&pods, make(1));
    pods_put(&pods, make(2));
    pods_end_round(&pods);
    assert_int_equal(pods.n, 2);
    pods_begin_round(&pods);
    pods_put(&pods, make(2));
    pods_put(&pods, make(3));
    assert_true(has(&pods, 1)); /* the round has not ended */
    pods_end_round(&pods);
    assert_false(has(&pods, 1));
    assert_true(has(&pods, 2));
    assert_true(has(&pods, 3));
    pods_deinit(&pods);
}

/* A pod that did not come again makes room for a new one. */
static void test_limit(void **state)
{
    struct pods pods;

    pods_init(&pods);
    for (unsigned i = 0; i < PODS_MAX; i++)
        assert_non_null(pods_put(&pods, make(i)));
    assert_null(pods_put(&pods, make(PODS_MAX)));
    assert_non_null(pods_put(&pods, make(0))); /* that one is there already */
    pods_begin_round(&pods);
    assert_non_null(pods_put(&pods, make(PODS_MAX)));
    assert_false(has(&pods, 1));
    assert_int_equal(pods.n, PODS_MAX);
    pods_deinit(&pods);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_and_remove),
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
