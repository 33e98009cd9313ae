/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct object_key key = {
    .kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"};

/* A volume on a store whose source is the test itself. */
struct fixture {
    struct store *store;
    struct volume *volume;
    struct payload *last; /* the newest that was passed on */
    mono_us last_received_at;
    unsigned n_payloads;
    unsigned n_states;
    bool is_watched;
};

static int watch(void *userdata, const struct object_key *watched, struct error *e)
{
    struct fixture *f = userdata;

    (void)e;
    assert_int_equal(object_key_compare(watched, &key), 0);
    f->is_watched = true;
    return 0;
}

static void unwatch(void *userdata, const struct object_key *watched)
{
    struct fixture *f = userdata;

    (void)watched;
    f->is_watched = false;
}

static void on_payload(void *userdata, struct payload *payload, mono_us received_at)
{
    struct fixture *f = userdata;

    (void)payload_unref(f->last);
    f->last = payload_ref(payload);
    f->last_received_at = received_at;
    f->n_payloads++;
}

static void on_state(void *userdata)
{
    ((struct fixture *)userdata)->n_states++;
}

static int setup(void **state)
{
    static const struct store_source source = {.watch = watch, .unwatch = unwatch};
    static const struct volume_callbacks callbacks = {.payload = on_payload, .state = on_state};
    const struct volume_spec spec = {.object = key, .default_mode = VOLUME_DEFAULT_MODE};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    assert_int_equal(store_new(&f->store), 0);
    store_set_source(f->store, &source, f);
    assert_int_equal(volume_new(f->store, &spec, &callbacks, f, &f->volume, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)volume_free(f->volume);
    assert_false(f->is_watched);
    (void)store_free(f->store);
    (void)payload_unref(f->last);
    free(f);
    return 0;
}

/* The source delivers an object with one key. */
static void put(struct fixture *f, const char *data_key, const char *value, const char *uid,
                mono_us received_at)
{
    const struct object like = {.key = key, .uid = uid, .resource_version = "1"};
    const struct object_input input = {.key = data_key, .text = value, .len = strlen(value)};
    struct object *object = NULL;

    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    store_put(f->store, object, received_at);
}

static void assert_shows(const struct fixture *f, const char *path, const char *value)
{
    assert_int_equal(f->last->n_files, 1);
    assert_string_equal(f->last->files[0].path, path);
    assert_int_equal(f->last->files[0].len, strlen(value));
    assert_memory_equal(f->last->files[0].bytes, value, strlen(value));
    assert_int_equal(f->last->files[0].mode, 0644);
}

static void waits_for_the_first_object(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(volume_state(f->volume), VOLUME_WAITING);
    assert_int_equal(f->n_payloads, 0);
    put(f, "k", "v1", "u", 42);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_int_equal(f->n_payloads, 1);
    assert_int_equal(f->last_received_at, 42);
    assert_shows(f, "k", "v1");
    assert_string_equal(volume_error(f->volume), "");
}

/* G1 */
static void absent_object_is_named(void **state)
{
    struct fixture *f = *state;

    store_remove(f->store, &key, 1);
    assert_int_equal(volume_state(f->volume), VOLUME_WAITING);
    assert_string_equal(volume_error(f->volume), "secret/default/dummy does not exist");
    assert_int_equal(f->n_payloads, 0);
}

/* E1, E2: the same bytes under another resourceVersion or uid are no reason to write. */
static void same_content_is_not_passed_on(void **state)
{
    struct fixture *f = *state;

    put(f, "k", "v1", "u1", 1);
    put(f, "k", "v1", "u2", 2);
    assert_int_equal(f->n_payloads, 1);
    put(f, "k", "v2", "u2", 3);
    assert_int_equal(f->n_payloads, 2);
    assert_shows(f, "k", "v2");
    put(f, "other", "v2", "u2", 4);
    assert_int_equal(f->n_payloads, 3);
    assert_shows(f, "other", "v2");
}

/* G8: deleted, it stays and is stale. G12: recreated with the same content, nothing is written. */
static void deleted_object_stays_until_it_comes_back(void **state)
{
    struct fixture *f = *state;

    put(f, "k", "v1", "u1", 1);
    store_remove(f->store, &key, 2);
    assert_int_equal(volume_state(f->volume), VOLUME_STALE);
    assert_non_null(strstr(volume_error(f->volume), "does not exist"));
    assert_int_equal(f->n_payloads, 1);
    put(f, "k", "v1", "u2", 3);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_string_equal(volume_error(f->volume), "");
    assert_int_equal(f->n_payloads, 1);
    store_remove(f->store, &key, 4);
    put(f, "k", "v2", "u3", 5);
    assert_int_equal(f->n_payloads, 2);
    assert_shows(f, "k", "v2");
}

/* G15: trouble at the source changes neither payload nor state, but can be asked for. */
static void failing_source_changes_no_content(void **state)
{
    const struct error refused = {.text = "connection refused"};
    struct fixture *f = *state;
    unsigned n_states;

    put(f, "k", "v1", "u1", 1);
    n_states = f->n_states;
    store_report(f->store, &key, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(f->n_states, n_states + 1);
    assert_int_equal(volume_state(f->volume), VOLUME_CURRENT);
    assert_string_equal(volume_error(f->volume), "connection refused");
    store_report(f->store, &key, STORE_SOURCE_FAILING, &refused);
    assert_int_equal(f->n_states, n_states + 1);
    store_report(f->store, &key, STORE_SOURCE_LIVE, NULL);
    assert_string_equal(volume_error(f->volume), "");
    assert_int_equal(f->n_payloads, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(waits_for_the_first_object),        TEST(absent_object_is_named),
        TEST(same_content_is_not_passed_on),     TEST(deleted_object_stays_until_it_comes_back),
        TEST(failing_source_changes_no_content),
    };

    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
