/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a volume says to those who want it, as far as that needs no file system; the rest is tested
 * with real mounts. Objects come from manifests, and there is nobody who could publish them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "node/volumes.h"

#include "tests/unit/failmalloc.h"

#define TURNS_MAX 1000 /* of the loop; far more than any of these takes */

static char dir[] = "/tmp/secretfs-node-volume-XXXXXX";
static char manifest[PATH_MAX];
static sd_event *event;
static struct identities *identities;

/* What was told last. */
static struct {
    unsigned n_settled;
    unsigned n_asked; /* for a publisher */
    enum node_volume_outcome outcome;
    struct error e;
} told;

static int no_publisher(void *userdata, enum node_fs fs, struct publisher **ret_publisher,
                        struct error *e)
{
    told.n_asked++;
    return error_set(e, -ENOMEM, "there is no publisher here");
}

static void on_change(void *userdata, struct node_volume *volume)
{
}

static void on_update(void *userdata, const struct node_volume *volume)
{
}

static struct node_volume_host host = {
    .choose_publisher = no_publisher, .changed = on_change, .updated = on_update};

static void on_settled(void *userdata, struct node_volume *volume, enum node_volume_outcome outcome,
                       const struct error *e)
{
    told.n_settled++;
    told.outcome = outcome;
    told.e = *e;
}

static void on_abandoned(void *userdata, struct node_volume *volume)
{
}

static const struct node_volume_callbacks callbacks = {.settled = on_settled,
                                                       .abandoned = on_abandoned};

static enum node_fs fs_to_make = NODE_FS_STANDARD;

static int make(const char *secret, struct node_volume **ret_volume)
{
    static const struct identity_place place = {.manifests = dir};
    struct volume_source *source;
    struct node_volume_options options = {.id = "csi-1",
                                          .target = "/nowhere/at/all",
                                          .namespace = "prod",
                                          .pod = "prod/web-0",
                                          .fs = fs_to_make};
    int r = volume_spec_new(VOLUME_SECRET, &options.spec);

    if (r == 0)
        r = volume_spec_add_source(options.spec, OBJECT_SECRET, secret, &source);
    if (r == 0)
        r = identities_get_place(identities, &place, &options.identity, NULL);
    if (r < 0) {
        volume_spec_free(options.spec);
        return r;
    }
    return node_volume_new(&host, &options, &callbacks, NULL, ret_volume, NULL);
}

static struct node_volume *make_well(const char *secret)
{
    struct node_volume *v = NULL;

    told.n_settled = told.n_asked = 0;
    assert_int_equal(make(secret, &v), 0);
    return v;
}

static void run_until_settled(unsigned n)
{
    for (unsigned turn = 0; turn < TURNS_MAX && told.n_settled < n; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_int_equal(told.n_settled, n);
}

static void test_ids(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a b", "a\n"};

    assert_true(node_volume_id_is_valid("csi-0123abc"));
    assert_true(node_volume_id_is_valid("static-10_db.prod"));
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        assert_false(node_volume_id_is_valid(bad[i]));
}

static void test_missing(void **state)
{
    struct node_volume *v = make_well("none");

    node_volume_want(v, false);
    run_until_settled(1);
    assert_int_equal(told.outcome, NODE_VOLUME_MISSING);
    assert_non_null(strstr(told.e.text, "none"));
    assert_false(v->is_wanted);
    node_volume_free(v);
}

/* Whoever has patience is not told of what may come yet. */
static void test_missing_and_waited_for(void **state)
{
    struct node_volume *v = make_well("none");

    node_volume_want(v, true);
    for (unsigned turn = 0; turn < 5; turn++)
        assert_true(sd_event_run(event, 1000) >= 0);
    assert_int_equal(told.n_settled, 0);
    assert_false(node_volume_forgo(v));
    assert_false(v->is_wanted);
    node_volume_free(v);
}

/* It is tried again when it is wanted again, and not before. */
static void test_cannot_be_published(void **state)
{
    struct node_volume *v = make_well("db");
    unsigned n_asked;

    node_volume_want(v, false);
    run_until_settled(1);
    assert_int_equal(told.outcome, NODE_VOLUME_UNAVAILABLE);
    assert_non_null(strstr(told.e.text, "there is no publisher here"));
    n_asked = told.n_asked;
    assert_int_not_equal(n_asked, 0);
    assert_true(sd_event_run(event, 1000) >= 0);
    assert_int_equal(told.n_asked, n_asked);
    node_volume_want(v, false);
    run_until_settled(2);
    assert_int_equal(told.n_asked, n_asked + 1);
    assert_int_equal(told.outcome, NODE_VOLUME_UNAVAILABLE);
    node_volume_free(v);
}

/* Content waits for the choice of the file system, which is made once. */
static void test_file_system_is_decided_later(void **state)
{
    struct node_volume *v;

    fs_to_make = NODE_FS_UNDECIDED;
    v = make_well("db");
    fs_to_make = NODE_FS_STANDARD;
    node_volume_want(v, true);
    for (unsigned turn = 0; turn < TURNS_MAX && v->published.payload == NULL; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_non_null(v->published.payload);
    assert_int_equal(told.n_asked, 0);
    assert_int_equal(told.n_settled, 0);
    node_volume_decide(v, NODE_FS_LIVE);
    assert_int_equal(told.n_asked, 1);
    assert_int_equal(told.n_settled, 1);
    node_volume_decide(v, NODE_FS_STANDARD);
    assert_int_equal(v->fs, NODE_FS_LIVE);
    assert_string_equal(node_fs_name(v->fs), "live");
    node_volume_free(v);
}

static void test_owners_that_are_not_said(void **state)
{
    struct node_volume *v = make_well("db");

    assert_int_equal(v->spec->uid, geteuid());
    assert_int_equal(v->spec->gid, getegid());
    node_volume_free(v);
}

static bool count(void *userdata, const struct node_volume *volume)
{
    size_t *n = userdata;

    (*n)++;
    return true;
}

static void test_found_by_id_until_dropped(void **state)
{
    struct node_volumes *all = NULL;
    struct node_volume *v = make_well("none");
    size_t n = 0;

    assert_int_equal(node_volumes_new(event, &all), 0);
    assert_null(node_volumes_find(all, "csi-1"));
    assert_int_equal(node_volumes_add(all, v), 0);
    assert_ptr_equal(node_volumes_find(all, "csi-1"), v);
    assert_null(node_volumes_find(all, "csi-2"));
    node_volumes_visit(all, count, &n);
    assert_int_equal(n, 1);
    node_volumes_drop(all, v);
    assert_null(node_volumes_find(all, "csi-1"));
    assert_int_equal(node_volumes_count(all), 0);
    /* another one of that name, while the first waits to be freed */
    v = make_well("none");
    assert_int_equal(node_volumes_add(all, v), 0);
    assert_true(sd_event_run(event, 1000) >= 0);
    assert_ptr_equal(node_volumes_find(all, "csi-1"), v);
    node_volumes_free(all);
}

static int make_with_what_memory_there_is(void *userdata)
{
    struct node_volume *v = NULL;
    int r = make("db", &v);

    node_volume_free(v);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(make_with_what_memory_there_is, NULL);
}

static void set_up(void)
{
    static const struct identities_options options = {.rights = NODE_RIGHTS_DAEMON,
                                                      .kubelet_root = "/nowhere"};
    const char *made = mkdtemp(dir);
    FILE *f;
    int r;

    assert(made != NULL);
    snprintf(manifest, sizeof(manifest), "%s/db.yaml", dir);
    f = fopen(manifest, "we");
    assert(f != NULL);
    r = fputs("apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: prod}\n"
              "stringData: {user: dummy}\n",
              f);
    assert(r >= 0);
    r = fclose(f);
    assert(r == 0);
    r = sd_event_new(&event);
    assert(r >= 0);
    host.event = event;
    r = identities_new(event, &options, &identities);
    assert(r == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_missing_and_waited_for),
        cmocka_unit_test(test_cannot_be_published),
        cmocka_unit_test(test_file_system_is_decided_later),
        cmocka_unit_test(test_owners_that_are_not_said),
        cmocka_unit_test(test_found_by_id_until_dropped),
        cmocka_unit_test(test_no_memory),
    };
    int r;

    set_up();
    r = cmocka_run_group_tests(tests, NULL, NULL);
    identities_free(identities);
    sd_event_unref(event);
    unlink(manifest);
    rmdir(dir);
    return r;
}
