/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/pod_fields.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "encoding/json.h"
#include "tests/unit/failmalloc.h"

#define POD                                                                                        \
    "{\"metadata\":{\"labels\":{\"b\":\"2\",\"a\":\"1\",\"example.com/K\":\"x y\"},"               \
    "\"annotations\":{\"note\":\"a\\nb\"}},\"spec\":{\"containers\":[{\"name\":\"main\","          \
    "\"resources\":{\"limits\":{\"cpu\":\"1500m\",\"memory\":\"0\"},\"requests\":{\"cpu\":"        \
    "\"100m\"}}}],\"initContainers\":[{\"name\":\"setup\"}]}}"
#define NODE "{\"cpu\":\"3920m\",\"memory\":\"16Gi\"}"

struct fixture {
    cJSON *pod, *node;
    struct pod_facts facts;
};

static int setup(void **state)
{
    static struct fixture f;

    f.pod = cJSON_Parse(POD);
    f.node = cJSON_Parse(NODE);
    f.facts = (struct pod_facts){.name = "web-0",
                                 .namespace = "prod",
                                 .uid = "u-1",
                                 .resource_version = "7",
                                 .details = f.pod,
                                 .allocatable = f.node};
    *state = &f;
    return f.pod != NULL && f.node != NULL ? pod_facts_init(&f.facts) : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pod_facts_deinit(&f->facts);
    cJSON_Delete(f->pod);
    cJSON_Delete(f->node);
    return 0;
}

static struct object_key key_of(const char *detail)
{
    return (struct object_key){
        .kind = OBJECT_DOWNWARD_API, .namespace = "prod", .name = "web-0", .detail = detail};
}

static void check(const struct fixture *f, const char *field, const char *expected)
{
    struct object *object = NULL;
    const struct object_entry *entry;
    struct object_key key;
    struct error e = ERROR_INIT;
    char detail[256];

    snprintf(detail, sizeof(detail), "u-1\n%s", field);
    key = key_of(detail);
    if (pod_fields_object(&key, &f->facts, &object, &e) != 0)
        fail_msg("%s: %s", field, e.text);
    assert_int_equal(object->n_entries, 1);
    entry = object_find(object, field);
    assert_non_null(entry);
    if (entry->len != strlen(expected) || memcmp(entry->bytes, expected, entry->len) != 0)
        fail_msg("%s: \"%.*s\"", field, (int)entry->len, (const char *)entry->bytes);
    object_unref(object);
}

/* Y2, Y3 */
static void test_metadata(void **state)
{
    const struct fixture *f = *state;

    check(f, "metadata.name", "web-0");
    check(f, "metadata.namespace", "prod");
    check(f, "metadata.uid", "u-1");
    check(f, "metadata.labels", "a=\"1\"\nb=\"2\"\nexample.com/K=\"x y\"");
    check(f, "metadata.annotations", "note=\"a\\nb\"");
    check(f, "metadata.labels['b']", "2");
    check(f, "metadata.labels['example.com/K']", "x y");
    check(f, "metadata.labels['missing']", "");
    check(f, "metadata.annotations['note']", "a\nb");
}

/* Y5, Y6 */
static void test_resources(void **state)
{
    const struct fixture *f = *state;

    check(f, "limits.cpu main 1", "2");
    check(f, "limits.cpu main 1m", "1500");
    check(f, "limits.memory main 1Gi", "16");
    check(f, "limits.cpu setup 1m", "3920");
    check(f, "limits.ephemeral-storage main 1", "0");
    check(f, "limits.hugepages-2Mi main 1", "0");
    check(f, "requests.cpu main 1m", "100");
    check(f, "requests.memory main 1", "0");
}

static void test_what_needs_the_node(void **state)
{
    const struct fixture *f = *state;
    struct pod_facts unknown = f->facts;
    struct object_key key = key_of("u-1\nlimits.cpu setup 1");
    struct object_key other = key_of("u-1\nlimits.cpu main 1\nmetadata.name");
    struct object *object = NULL;
    struct error e = ERROR_INIT;

    unknown.allocatable = NULL;
    assert_true(pod_fields_need_node(&key, &unknown));
    assert_int_equal(pod_fields_object(&key, &unknown, &object, &e), -EAGAIN);
    assert_false(pod_fields_need_node(&other, &unknown));
    assert_int_equal(pod_fields_object(&other, &unknown, &object, &e), 0);
    assert_string_equal(object->resource_version, "7");
    assert_int_equal(object->n_entries, 2);
    object_unref(object);
}

static void test_missing_container(void **state)
{
    const struct fixture *f = *state;
    struct object_key key = key_of("u-1\nrequests.cpu other 1");
    struct object *object = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(pod_fields_object(&key, &f->facts, &object, &e), -ENOENT);
    assert_string_equal(e.text, "container other not found in the pod");
}

static void test_no_fields(void **state)
{
    const struct fixture *f = *state;
    struct object_key key = key_of("u-1");
    struct object *object = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(pod_fields_object(&key, &f->facts, &object, &e), 0);
    assert_int_equal(object->n_entries, 0);
    object_unref(object);
}

/* Y1 */
static void test_paths(void **state)
{
    static const char *const good[] = {"metadata.name",
                                       "metadata.namespace",
                                       "metadata.uid",
                                       "metadata.labels",
                                       "metadata.annotations",
                                       "metadata.labels['a']",
                                       "metadata.labels['A.b_c-d']",
                                       "metadata.labels['example.com/A']",
                                       "metadata.annotations['EXAMPLE.com/A']"};
    static const char *const bad[] = {"",
                                      "metadata",
                                      "metadata.labels[a]",
                                      "metadata.labels['a'",
                                      "metadata.labels['']",
                                      "metadata.labels['a/b/c']",
                                      "metadata.labels['EXAMPLE.com/A']",
                                      "metadata.labels['-a']",
                                      "metadata.labels['a\nb']",
                                      "metadata.name['a']",
                                      "spec.nodeName",
                                      "status.podIP",
                                      "metadata.labelsx"};
    struct error e;

    for (size_t i = 0; i < ELEMENTS_OF(good); i++)
        if (pod_fields_check_path(good[i], &e) != 0)
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        if (pod_fields_check_path(bad[i], &e) != -EINVAL)
            fail_msg("not refused: %s", bad[i]);
}

static void test_resource_keys(void **state)
{
    static const struct {
        const char *resource, *container, *divisor, *expected;
    } cases[] = {
        {"limits.cpu", "main", "", "limits.cpu main 1"},
        {"limits.cpu", "main", "0", "limits.cpu main 1"},
        {"requests.hugepages-2Mi", "main", "1Mi", "requests.hugepages-2Mi main 1Mi"},
        {"limits.gpu", "main", "1", NULL},
        {"cpu", "main", "1", NULL},
        {"limits.cpu", "Main", "1", NULL},
        {"limits.cpu", "a b", "1", NULL},
        {"limits.cpu", "main", "1 2", NULL},
        {"limits.hugepages-", "main", "1", NULL},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        char *key = NULL;
        struct error e = ERROR_INIT;
        int r = pod_fields_resource_key(cases[i].resource, cases[i].container, cases[i].divisor,
                                        &key, &e);

        assert_int_equal(r, cases[i].expected != NULL ? 0 : -EINVAL);
        if (cases[i].expected != NULL)
            assert_string_equal(key, cases[i].expected);
        free(key);
    }
}

static int attempt_to_sort(void *userdata)
{
    const struct fixture *f = userdata;
    struct pod_facts facts = {.details = f->pod};
    int r = pod_facts_init(&facts);

    pod_facts_deinit(&facts);
    return r;
}

static int attempt(void *userdata)
{
    const struct fixture *f = userdata;
    struct object_key key = key_of("u-1\nmetadata.labels\nlimits.cpu setup 1");
    struct object *object = NULL;
    struct error e = ERROR_INIT;
    int r = pod_fields_object(&key, &f->facts, &object, &e);

    object_unref(object);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(attempt, *state);
    failmalloc_try(attempt_to_sort, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_resources),
        cmocka_unit_test(test_what_needs_the_node),
        cmocka_unit_test(test_missing_container),
        cmocka_unit_test(test_no_fields),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_resource_keys),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
