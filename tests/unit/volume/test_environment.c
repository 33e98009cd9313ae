/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/environment.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/unit/failmalloc.h"

/* An environment of a required and an optional object, on a store whose source is the test. */
struct fixture {
    struct store *store;
    struct env_spec spec;
    struct environment *environment;
    unsigned n_changes;
    unsigned n_states;
    unsigned n_watched;
};

static const struct object_key required = {
    .kind = OBJECT_SECRET, .namespace = "default", .name = "required"};
static const struct object_key optional = {
    .kind = OBJECT_CONFIGMAP, .namespace = "default", .name = "optional"};

static int watch(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    f->n_watched++;
    return 0;
}

static void unwatch(void *userdata, const struct object_key *key)
{
    struct fixture *f = userdata;

    f->n_watched--;
}

static void on_changed(void *userdata)
{
    ((struct fixture *)userdata)->n_changes++;
}

static void on_state(void *userdata)
{
    ((struct fixture *)userdata)->n_states++;
}

static int setup(void **state)
{
    static const struct store_source source = {.watch = watch, .unwatch = unwatch};
    static const struct environment_callbacks callbacks = {.changed = on_changed,
                                                           .state = on_state};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(store_new(&f->store), 0);
    store_set_source(f->store, &source, f);
    assert_int_equal(env_spec_add_key(&f->spec, "A=secret/required/k", false, NULL), 0);
    assert_int_equal(env_spec_add_key(&f->spec, "B=secret/required/k", false, NULL), 0);
    assert_int_equal(env_spec_add_key(&f->spec, "C=configmap/optional/k", true, NULL), 0);
    assert_int_equal(
        environment_new(f->store, &f->spec, "default", &callbacks, f, &f->environment, NULL), 0);
    assert_int_equal(f->n_watched, 2); /* each object once */
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    environment_free(f->environment);
    assert_int_equal(f->n_watched, 0);
    store_free(f->store);
    env_spec_deinit(&f->spec);
    free(f);
    return 0;
}

static void put(struct fixture *f, const struct object_key *key, const char *data_key,
                const char *value)
{
    const struct object like = {.key = *key, .resource_version = "1"};
    const struct object_input input = {.key = data_key, .text = value, .len = strlen(value)};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    store_put(f->store, object, 1);
}

/* @value: NULL if it is not to be set */
static void assert_set(const struct fixture *f, const char *name, const char *value)
{
    const struct env_variable *v = env_find(environment_env(f->environment), name);

    if (value == NULL) {
        assert_null(v);
        return;
    }
    assert_non_null(v);
    assert_int_equal(v->len, strlen(value));
    assert_memory_equal(v->bytes, value, v->len);
}

static void waits_for_all_answers(void **state)
{
    struct fixture *f = *state;

    put(f, &required, "k", "v1");
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_WAITING);
    assert_false(environment_is_answered(f->environment));
    assert_null(environment_env(f->environment));
    store_remove(f->store, &optional, 2);
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_CURRENT);
    assert_true(environment_is_answered(f->environment));
    assert_int_equal(f->n_changes, 1);
    assert_set(f, "A", "v1");
    assert_set(f, "B", "v1");
    assert_set(f, "C", NULL);
}

/* O5, G1 */
static void missing_object_is_named(void **state)
{
    struct fixture *f = *state;

    store_remove(f->store, &optional, 1);
    store_remove(f->store, &required, 2);
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_WAITING);
    assert_string_equal(environment_error(f->environment),
                        "secret \"required\" not found in namespace \"default\"");
    put(f, &required, "other", "v1");
    assert_string_equal(environment_error(f->environment),
                        "couldn't find key k in Secret default/required");
    put(f, &required, "k", "v1");
    assert_string_equal(environment_error(f->environment), "");
    assert_int_equal(f->n_changes, 1);
}

static void make_current(struct fixture *f)
{
    put(f, &required, "k", "v1");
    put(f, &optional, "k", "c1");
    assert_int_equal(f->n_changes, 1);
}

/* Another resourceVersion, or a key that no variable uses, does not count as a change. */
static void only_used_values_count(void **state)
{
    struct fixture *f = *state;

    make_current(f);
    put(f, &required, "k", "v1");
    assert_int_equal(f->n_changes, 1);
    put(f, &optional, "other", "c1");
    assert_int_equal(f->n_changes, 2); /* C is gone */
    assert_set(f, "C", NULL);
    put(f, &optional, "another", "c2");
    assert_int_equal(f->n_changes, 2);
    put(f, &required, "k", "v2");
    assert_int_equal(f->n_changes, 3);
    assert_set(f, "A", "v2");
}

/* G8, G9: variables of a deleted object stay, unless it is optional. */
static void deleted_objects(void **state)
{
    struct fixture *f = *state;

    make_current(f);
    store_remove(f->store, &optional, 3);
    assert_int_equal(f->n_changes, 2);
    assert_set(f, "C", NULL);
    store_remove(f->store, &required, 4);
    assert_int_equal(f->n_changes, 2);
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_STALE);
    assert_set(f, "A", "v1");
    put(f, &required, "k", "v1");
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_CURRENT);
    assert_int_equal(f->n_changes, 2);
    put(f, &optional, "k", "c1");
    assert_int_equal(f->n_changes, 3);
    assert_set(f, "C", "c1");
}

/* G6: optional covers "not found" only. G15: a later failure of the source changes nothing. */
static void failing_source(void **state)
{
    const struct error refused = {.text = "connection refused"};
    struct fixture *f = *state;

    put(f, &required, "k", "v1");
    store_report(f->store, &optional, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_WAITING);
    assert_true(environment_is_answered(f->environment));
    assert_string_equal(environment_error(f->environment), "connection refused");
    store_report(f->store, &optional, STORE_SOURCE_LIVE, NULL);
    put(f, &optional, "k", "c1");
    assert_int_equal(f->n_changes, 1);
    store_report(f->store, &optional, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_CURRENT);
    assert_string_equal(environment_source_error(f->environment), "connection refused");
    assert_int_equal(f->n_changes, 1);
}

/* ---- sources that answer at once, or not at all */

static const struct environment_callbacks counting = {.changed = on_changed, .state = on_state};

static int watch_and_answer(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    f->n_watched++;
    put(f, key, "k", "v");
    return 0;
}

static void source_that_answers_at_once(void **state)
{
    static const struct store_source source = {.watch = watch_and_answer, .unwatch = unwatch};
    struct fixture *f = *state;
    unsigned n_before = f->n_changes;

    f->environment = environment_free(f->environment);
    store_set_source(f->store, &source, f);
    assert_int_equal(
        environment_new(f->store, &f->spec, "default", &counting, f, &f->environment, NULL), 0);
    assert_int_equal(f->n_changes, n_before + 1); /* of both together */
    assert_set(f, "A", "v");
    assert_set(f, "C", "v");
}

static int refuse_configmaps(void *userdata, const struct object_key *key, struct error *e)
{
    struct fixture *f = userdata;

    if (key->kind == OBJECT_CONFIGMAP)
        return error_set(e, -EINVAL, "no ConfigMaps here");
    f->n_watched++;
    return 0;
}

static void source_that_refuses(void **state)
{
    static const struct store_source source = {.watch = refuse_configmaps, .unwatch = unwatch};
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    f->environment = environment_free(f->environment);
    store_set_source(f->store, &source, f);
    assert_int_equal(
        environment_new(f->store, &f->spec, "default", &counting, f, &f->environment, &e), -EINVAL);
    assert_non_null(strstr(e.text, "no ConfigMaps here"));
    assert_null(f->environment);
    assert_int_equal(f->n_watched, 0);
    assert_null(environment_free(NULL));
}

/* Objects that the store has already are used at once. */
static void literals_alone(void **state)
{
    struct env_source literal = {
        .kind = ENV_LITERAL, .name = (char[]){"L"}, .value = (char[]){"x"}};
    struct fixture *f = *state;

    f->environment = environment_free(f->environment);
    env_spec_deinit(&f->spec);
    assert_int_equal(env_spec_add(&f->spec, &literal, NULL), 0);
    assert_int_equal(
        environment_new(f->store, &f->spec, "default", &counting, f, &f->environment, NULL), 0);
    assert_int_equal(f->n_watched, 0);
    assert_set(f, "L", "x");
    assert_false(environment_lacks_file(f->environment));
}

/* Y35: no object brings a file, and a command that runs keeps its environment. */
static void missing_file(void **state)
{
    const struct env_source file = {
        .kind = ENV_FILE, .name = "F", .directory = "/none", .path = "file", .key = "F"};
    struct fixture *f = *state;

    f->environment = environment_free(f->environment);
    env_spec_deinit(&f->spec);
    assert_int_equal(env_spec_add(&f->spec, &file, NULL), 0);
    assert_int_equal(
        environment_new(f->store, &f->spec, "default", &counting, f, &f->environment, NULL), 0);
    assert_true(environment_lacks_file(f->environment));
    assert_int_equal(environment_state(f->environment), ENVIRONMENT_WAITING);
    assert_non_null(strstr(environment_error(f->environment), "cannot open the directory /none"));
}

/* Make an environment. Return: -ENOMEM also if its error is out of memory. */
static int follow(void *userdata)
{
    static const struct store_source source = {.watch = watch, .unwatch = unwatch};
    static const struct object_input input = {.key = "k", .text = "v", .len = 1};
    const struct env_spec *spec = userdata;
    const struct object like = {.key = required, .resource_version = "1"};
    struct object *object = NULL;
    struct fixture f = {.n_changes = 0};
    struct error e = ERROR_INIT;
    int r = store_new(&f.store);

    if (r < 0)
        return r;
    store_set_source(f.store, &source, &f);
    r = environment_new(f.store, spec, "default", &counting, &f, &f.environment, &e);
    if (r == 0)
        r = object_new(&like, &input, 1, &object, &e);
    if (r == 0) {
        store_remove(f.store, &optional, 1);
        store_put(f.store, object, 1);
    }
    if (r == 0 && environment_state(f.environment) != ENVIRONMENT_CURRENT)
        r = strstr(environment_error(f.environment), "emory") != NULL ? -ENOMEM : -EINVAL;
    f.environment = environment_free(f.environment);
    store_free(f.store);
    return f.n_watched == 0 ? r : -EINVAL;
}

static void memory_can_be_short(void **state)
{
    struct fixture *f = *state;

    failmalloc_try(follow, &f->spec);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(waits_for_all_answers),  TEST(missing_object_is_named),
        TEST(only_used_values_count), TEST(deleted_objects),
        TEST(failing_source),         TEST(source_that_answers_at_once),
        TEST(source_that_refuses),    TEST(literals_alone),
        TEST(missing_file),           TEST(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("environment", tests, NULL, NULL);
}
