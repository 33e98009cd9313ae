/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The states of a volume and the results of mount requests. Objects come from manifests; the test
 * is the publisher. Real mounts are tested in tests/integration/node.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <sys/stat.h>

#include "node/volumes.h"

#include "tests/unit/failmalloc.h"

#define TURNS_MAX 1000 /* of the loop; far more than any test needs */

static char dir[] = "/tmp/secretfs-node-volume-XXXXXX";
static char manifest[PATH_MAX], target[PATH_MAX];
static sd_event *event;
static struct identities *identities;

/* The last results. */
static struct {
    unsigned n_done;
    unsigned n_asked; /* for a publisher */
    enum node_mount_result result;
    struct error e;
} seen;

static bool has_publisher;

/* Replaces node/file_systems.c, which the program does not link. */
int node_file_systems_publisher(struct node_file_systems *all, enum node_fs fs,
                                struct publisher **ret_publisher, struct error *e)
{
    seen.n_asked++;
    if (!has_publisher)
        return error_set(e, -ENOMEM, "there is no publisher here");
    *ret_publisher = (void *)&seen; /* opaque */
    return 0;
}

static char *recorded; /* the last record; NULL: none */
static int n_orders;   /* volumes whose record has orders */

struct consumers *node_file_systems_consumers(const struct node_file_systems *all, enum node_fs fs)
{
    return NULL;
}

int node_file_systems_record(struct node_file_systems *all, enum node_fs fs, const char *id,
                             const char *text)
{
    assert_string_equal(id, "csi-1");
    free(recorded);
    recorded = strdup(text);
    return recorded != NULL ? 0 : -ENOMEM;
}

void node_file_systems_drop_record(struct node_file_systems *all, const char *id)
{
    assert_string_equal(id, "csi-1");
    free(recorded);
    recorded = NULL;
}

static uint64_t shown_update_id;

uint64_t node_file_systems_shown_update(const struct node_file_systems *all, enum node_fs fs,
                                        const char *id)
{
    assert_string_equal(id, "csi-1");
    return shown_update_id;
}

void node_file_systems_count_orders(struct node_file_systems *all, enum node_fs fs, int change)
{
    n_orders += change;
    assert_true(n_orders == 0 || n_orders == 1);
}

/* ---- the publisher */

static const struct publisher_callbacks *publisher_callbacks;
static void *publisher_userdata;
static struct payload *submitted; /* a reference */
static publisher_bound_fn *bound; /* NULL: no mount in progress */
static void *bound_userdata;
static unsigned n_unbound;
static struct payload *shown; /* of the last place */

int publisher_add_volume(const struct publisher_place *place,
                         const struct publisher_callbacks *callbacks_of_volume, void *userdata,
                         struct publisher_volume **ret_volume)
{
    publisher_callbacks = callbacks_of_volume;
    publisher_userdata = userdata;
    shown = place->shown;
    *ret_volume = (void *)&seen; /* opaque, and not NULL */
    return 0;
}

static bool is_kept; /* the directory */

void publisher_keep_directory(struct publisher_volume *volume)
{
    is_kept = true;
}

struct publisher_volume *publisher_remove_volume(struct publisher_volume *volume)
{
    submitted = payload_unref(submitted);
    return NULL;
}

void publisher_submit(struct publisher_volume *volume, struct payload *payload, mono_us received_at)
{
    payload_unref(submitted);
    submitted = payload_ref(payload);
}

void publisher_bind(struct publisher_volume *volume, int target_fd_consumed,
                    unsigned long mount_attr, publisher_bound_fn *bound_fn, void *userdata)
{
    assert_int_equal(mount_attr, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    assert_null(bound);
    close(target_fd_consumed);
    bound = bound_fn;
    bound_userdata = userdata;
}

mono_us publisher_blocked_since(struct publisher_volume *volume)
{
    return 0;
}

void publisher_unbind(struct publisher_volume *volume)
{
    bound = NULL;
    n_unbound++;
}

/* The publisher has published the submitted payload. */
static void finish_publish(void)
{
    const struct publisher_result result = {
        .payload = submitted, .is_visible = true, .generation = "..g"};

    publisher_callbacks->done(publisher_userdata, &result);
}

/* The publisher has mounted the volume, or failed to. */
static void finish_mount(int error, uint64_t mount_id)
{
    const struct error e = {.text = "the kernel refuses"};
    publisher_bound_fn *fn = bound;

    assert_non_null(fn);
    bound = NULL;
    fn(bound_userdata, error, mount_id, error < 0 ? &e : &ERROR_INIT);
}

/* ---- the observer and the owner */

static unsigned n_changed;

static void on_changed(void *userdata, struct published *p)
{
    n_changed++;
}

static const struct published_observer observer = {.changed = on_changed};
static struct node_volume_context context = {.observer = &observer};

/* As an owner embeds a volume. */
struct owned_volume {
    unsigned long magic;
    struct node_volume volume;
};

static void on_mount_done(struct node_volume *volume, enum node_mount_result result,
                          const struct error *e)
{
    seen.n_done++;
    seen.result = result;
    seen.e = *e;
}

static void owned_free(struct node_volume *volume)
{
    node_volume_deinit(volume);
    free(CONTAINER_OF(volume, struct owned_volume, volume));
}

static const struct node_volume_ops ops = {.mount_done = on_mount_done, .free = owned_free};

static bool pod_decides_fs;
static enum volume_updates updates = VOLUME_UPDATES_GENERATIONS;

static const struct node_shown *of_earlier_process;
static const char *update_command;

static int make(const char *secret, struct node_volume **ret_volume)
{
    static const struct identity_place place = {.manifests = dir};
    struct volume_source *source;
    struct node_volume_options options = {.id = "csi-1",
                                          .target = target,
                                          .namespace = "prod",
                                          .pod = "web-0",
                                          .pod_decides_fs = pod_decides_fs,
                                          .action = {.command = update_command},
                                          .shown = of_earlier_process};
    struct owned_volume *v;
    int r = volume_spec_new(VOLUME_SECRET, &options.spec);

    if (r == 0)
        r = volume_spec_add_source(options.spec, OBJECT_SECRET, secret, &source);
    if (r == 0)
        r = identities_get_place(identities, &place, &options.identity, NULL);
    v = r == 0 ? calloc(1, sizeof(*v)) : NULL;
    if (v == NULL) {
        volume_spec_free(options.spec);
        identity_unref(options.identity);
        return r < 0 ? r : -ENOMEM;
    }
    options.spec->updates = updates;
    r = node_volume_init(&v->volume, &context, &options, &ops, NULL);
    if (r < 0)
        owned_free(&v->volume);
    else
        *ret_volume = &v->volume;
    return r;
}

static struct node_volume *create(const char *secret)
{
    struct node_volume *v = NULL;

    seen.n_done = seen.n_asked = 0;
    assert_int_equal(make(secret, &v), 0);
    return v;
}

static void run_until_done(unsigned n)
{
    for (unsigned turn = 0; turn < TURNS_MAX && seen.n_done < n; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_int_equal(seen.n_done, n);
}

static void test_ids(void **state)
{
    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a b", "a\n"};

    assert_true(node_volume_id_is_valid("csi-0123abc"));
    assert_true(node_volume_id_is_valid("static-10_db.prod"));
    for (size_t i = 0; i < ELEMENTS_OF(bad); i++)
        assert_false(node_volume_id_is_valid(bad[i]));
}

static void test_missing_object_ends_request(void **state)
{
    struct node_volume *v = create("none");

    node_volume_request_mount(v, false);
    run_until_done(1);
    assert_int_equal(seen.result, NODE_MOUNT_MISSING);
    assert_non_null(strstr(seen.e.text, "none"));
    assert_false(v->is_requested);
    owned_free(v);
}

/* A request without a deadline does not end because of a missing object. */
static void test_missing_object_without_deadline(void **state)
{
    struct node_volume *v = create("none");

    node_volume_request_mount(v, true);
    for (unsigned turn = 0; turn < 5; turn++)
        assert_true(sd_event_run(event, 1000) >= 0);
    assert_int_equal(seen.n_done, 0);
    assert_false(node_volume_cancel_request(v));
    assert_false(v->is_requested);
    owned_free(v);
}

/* The next request tries again, and nothing before it. */
static void test_failed_publish_is_retried_by_request(void **state)
{
    struct node_volume *v = create("db");
    unsigned n_asked;

    node_volume_request_mount(v, false);
    run_until_done(1);
    assert_int_equal(seen.result, NODE_MOUNT_UNAVAILABLE);
    assert_non_null(strstr(seen.e.text, "there is no publisher here"));
    n_asked = seen.n_asked;
    assert_int_not_equal(n_asked, 0);
    assert_true(sd_event_run(event, 1000) >= 0);
    assert_int_equal(seen.n_asked, n_asked);
    node_volume_request_mount(v, false);
    run_until_done(2);
    assert_int_equal(seen.n_asked, n_asked + 1);
    assert_int_equal(seen.result, NODE_MOUNT_UNAVAILABLE);
    owned_free(v);
}

/* Content waits for the choice of the file system, which is made once. */
static void test_content_waits_for_file_system(void **state)
{
    struct node_volume *v;

    pod_decides_fs = true;
    v = create("db");
    pod_decides_fs = false;
    assert_int_equal(v->fs, NODE_FS_UNDECIDED);
    node_volume_request_mount(v, true);
    for (unsigned turn = 0; turn < TURNS_MAX && v->published.payload == NULL; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_non_null(v->published.payload);
    assert_int_equal(seen.n_asked, 0);
    assert_int_equal(seen.n_done, 0);
    node_volume_set_fs(v, NODE_FS_LIVE);
    assert_int_equal(seen.n_asked, 1);
    assert_int_equal(seen.n_done, 1);
    node_volume_set_fs(v, NODE_FS_STANDARD);
    assert_int_equal(v->fs, NODE_FS_LIVE);
    assert_string_equal(node_fs_name(v->fs), "live");
    owned_free(v);
}

/* ---- mounting */

static bool target_exists(void)
{
    struct stat st;

    return lstat(target, &st) == 0;
}

/* Run the loop until the volume's content is published; it waits for a request then. */
static struct node_volume *create_published(void)
{
    struct node_volume *v;

    has_publisher = true;
    n_unbound = 0;
    v = create("db");
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_CONTENT);
    for (unsigned turn = 0; turn < TURNS_MAX && submitted == NULL; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_non_null(submitted);
    finish_publish();
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_REQUEST);
    return v;
}

static void free_published(struct node_volume *v)
{
    owned_free(v);
    has_publisher = false;
    assert_null(bound);
    rmdir(target);
}

static void test_request_mounts(void **state)
{
    struct node_volume *v = create_published();

    assert_false(target_exists());
    node_volume_request_mount(v, false);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_MOUNT);
    assert_true(target_exists());
    assert_int_equal(seen.n_done, 0);
    finish_mount(0, 7);
    assert_int_equal(v->state, NODE_VOLUME_MOUNTED);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.result, NODE_MOUNT_DONE);
    assert_string_equal(seen.e.text, "");
    assert_true(v->was_mounted);
    assert_int_equal(node_volume_unmount(v, NULL), 0);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_REQUEST);
    assert_false(target_exists());
    free_published(v);
}

/* No mount has the id 7, so the mount is gone. */
static void test_lost_mount_is_mounted_again(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    node_volume_request_mount(v, false);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_MOUNT);
    finish_mount(0, 8);
    assert_int_equal(seen.n_done, 2);
    assert_int_equal(v->state, NODE_VOLUME_MOUNTED);
    free_published(v);
    assert_false(target_exists());
}

static void test_failed_mount_leaves_no_target(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(-EPERM, 0);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_REQUEST);
    assert_int_equal(seen.result, NODE_MOUNT_UNAVAILABLE);
    assert_non_null(strstr(seen.e.text, "the kernel refuses"));
    assert_false(target_exists());
    assert_false(v->was_mounted);
    free_published(v);
}

/* T2: the caller does not learn of the mount, so it is undone. */
static void test_cancelled_mount_is_undone(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    assert_true(node_volume_cancel_request(v));
    assert_int_equal(seen.n_done, 0);
    finish_mount(0, 7);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.result, NODE_MOUNT_UNAVAILABLE);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_REQUEST);
    assert_false(target_exists());
    assert_false(v->was_mounted);
    free_published(v);
}

static void test_freed_while_mounting(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    free_published(v);
    assert_int_equal(n_unbound, 1);
    assert_int_equal(seen.n_done, 0);
    assert_false(target_exists());
}

/* Another volume is mounted there. */
static void test_released_target_stays(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    node_volume_release_target(v);
    assert_int_equal(v->state, NODE_VOLUME_AWAITING_REQUEST);
    owned_free(v);
    has_publisher = false;
    assert_true(target_exists());
    assert_int_equal(rmdir(target), 0);
}

/* ---- the hand-over */

/* It is recorded before a reader can find the mount, and as long as it is mounted. */
static void test_mounted_volume_is_recorded(void **state)
{
    struct node_volume *v = create_published();

    assert_null(recorded);
    node_volume_request_mount(v, false);
    assert_non_null(recorded); /* the publisher has not mounted it yet */
    assert_non_null(strstr(recorded, target));
    finish_mount(0, 7);
    assert_non_null(recorded);
    assert_int_equal(node_volume_unmount(v, NULL), 0);
    assert_null(recorded);
    free_published(v);
}

static void test_failed_mount_is_not_recorded(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(-EIO, 0);
    assert_null(recorded);
    free_published(v);
}

static void test_freed_volume_is_not_recorded(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    free_published(v);
    assert_null(recorded);
}

static void test_left_volume_stays(void **state)
{
    struct node_volume *v = create_published();

    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    node_volume_leave(v);
    assert_true(is_kept);
    is_kept = false;
    owned_free(v);
    has_publisher = false;
    assert_true(target_exists());
    assert_non_null(recorded);
    node_file_systems_drop_record(NULL, "csi-1");
    assert_int_equal(rmdir(target), 0);
}

/* Recorded or not, but not before it is mounted. */
static void test_dead_mount_stays(void **state)
{
    struct node_volume *v = create_published();

    node_volume_leave_dead(v);
    assert_false(is_kept);
    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    node_file_systems_drop_record(NULL, "csi-1");
    v->is_recorded = false;
    node_volume_leave_dead(v);
    assert_true(is_kept);
    is_kept = false;
    owned_free(v);
    has_publisher = false;
    assert_true(target_exists());
    assert_int_equal(rmdir(target), 0);
}

/* As they begin and end, and as long as the volume is. */
static void test_orders_are_recorded(void **state)
{
    struct node_volume *v = create_published();

    volume_pause(v->published.volume, 0, clock_mono());
    assert_null(recorded);
    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    assert_non_null(strstr(recorded, "\"orders\":[{\"source\":0,\"order\":\"paused\"}]"));
    assert_int_equal(n_orders, 1);
    volume_resume(v->published.volume, 0, clock_mono());
    assert_null(strstr(recorded, "orders"));
    assert_int_equal(n_orders, 0);
    volume_pause(v->published.volume, 0, clock_mono());
    assert_int_equal(n_orders, 1);
    assert_int_equal(node_volume_unmount(v, NULL), 0);
    assert_null(recorded);
    assert_int_equal(n_orders, 0);
    free_published(v);
}

/* From the mount on, and as consumers are notified. */
static void test_notified_update_is_recorded(void **state)
{
    struct node_volume *v;

    update_command = "reload";
    shown_update_id = 40;
    v = create_published();
    update_command = NULL;
    node_volume_request_mount(v, false);
    assert_non_null(strstr(recorded, "\"notified\":40"));
    finish_mount(0, 7);
    node_volume_note_notified(v, 42);
    assert_non_null(strstr(recorded, "\"notified\":42"));
    free_published(v);
}

static void test_volume_without_consumers_has_no_notified_update(void **state)
{
    struct node_volume *v;

    shown_update_id = 40;
    v = create_published();
    node_volume_request_mount(v, false);
    finish_mount(0, 7);
    assert_null(strstr(recorded, "notified"));
    free_published(v);
}

/* One that the kubelet does not know of is not left. */
static void test_volume_without_a_mount_is_not_left(void **state)
{
    struct node_volume *v = create_published();

    node_volume_leave(v);
    assert_false(is_kept);
    node_volume_request_mount(v, false);
    node_volume_leave(v);
    assert_false(is_kept);
    free_published(v);
    assert_false(target_exists());
}

static struct payload *make_empty_payload(void)
{
    struct payload_builder *builder = NULL;
    struct payload *payload = NULL;

    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    payload_builder_free(builder);
    return payload;
}

/* It is mounted from the beginning; what the source has is published as an update. */
static void test_volume_of_an_earlier_process(void **state)
{
    struct node_shown earlier = {.fs = NODE_FS_STANDARD,
                                 .payload = make_empty_payload(),
                                 .generation = "..g",
                                 .mount_id = 7};
    struct node_volume *v;

    has_publisher = true;
    of_earlier_process = &earlier;
    pod_decides_fs = true;
    v = create("db");
    pod_decides_fs = false;
    of_earlier_process = NULL;
    assert_int_equal(v->state, NODE_VOLUME_MOUNTED);
    assert_int_equal(v->fs, NODE_FS_STANDARD);
    assert_true(v->was_mounted && v->is_recorded);
    assert_ptr_equal(shown, earlier.payload);
    assert_int_equal(v->mount_id, 7);
    payload_unref(earlier.payload);
    assert_null(recorded); /* it is in the state already */
    for (unsigned turn = 0; turn < TURNS_MAX && submitted == NULL; turn++)
        assert_true(sd_event_run(event, 10000) >= 0);
    assert_non_null(submitted);
    finish_publish();
    assert_int_equal(v->state, NODE_VOLUME_MOUNTED);
    assert_int_equal(seen.n_done, 0);
    assert_int_equal(mkdir(target, 0700), 0);
    free_published(v);
    assert_false(target_exists());
}

/* Readers see update 42. */
static void test_consumers_of_an_earlier_process(void **state)
{
    static const struct {
        uint64_t notified; /* of the record; 0: an earlier version wrote it */
        enum update_pace_state state;
        bool is_recorded;
    } cases[] = {{42, UPDATE_PACE_IDLE, false},
                 {41, UPDATE_PACE_PENDING, false},
                 {0, UPDATE_PACE_IDLE, true}};

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        struct node_shown earlier = {.fs = NODE_FS_STANDARD,
                                     .payload = make_empty_payload(),
                                     .generation = "..g",
                                     .notified = cases[i].notified,
                                     .mount_id = 7};
        struct node_volume *v;

        has_publisher = true;
        shown_update_id = 42;
        update_command = "reload";
        of_earlier_process = &earlier;
        v = create("db");
        of_earlier_process = NULL;
        update_command = NULL;
        assert_int_equal(v->notice.pace.state, cases[i].state);
        assert_int_equal(recorded != NULL, cases[i].is_recorded);
        if (cases[i].is_recorded)
            assert_non_null(strstr(recorded, "\"notified\":42"));
        payload_unref(earlier.payload);
        assert_int_equal(mkdir(target, 0700), 0);
        free_published(v);
    }
}

/* ---- the file system */

/* The spec decides before the pod does. */
static void test_spec_decides_file_system(void **state)
{
    struct node_volume *v;

    v = create("db");
    assert_int_equal(v->fs, NODE_FS_STANDARD);
    owned_free(v);
    pod_decides_fs = true;
    updates = VOLUME_UPDATES_IN_PLACE;
    v = create("db");
    pod_decides_fs = false;
    updates = VOLUME_UPDATES_GENERATIONS;
    assert_int_equal(v->fs, NODE_FS_LIVE);
    owned_free(v);
}

/* The observer of all volumes sees a change before the volume's owner has its result. */
static void test_observer(void **state)
{
    struct node_volume *v;

    n_changed = 0;
    v = create("none");
    node_volume_request_mount(v, false);
    run_until_done(1);
    assert_int_not_equal(n_changed, 0);
    owned_free(v);
}

static void test_default_owner(void **state)
{
    struct node_volume *v = create("db");

    assert_int_equal(v->spec->uid, geteuid());
    assert_int_equal(v->spec->gid, getegid());
    owned_free(v);
}

static bool count(void *userdata, struct node_volume *volume)
{
    size_t *n = userdata;

    (*n)++;
    return true;
}

static void test_dropped_volume_is_not_found(void **state)
{
    struct node_volumes *all = NULL;
    struct node_volume *v = create("none");
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
    /* another one with this id, before the first is freed */
    v = create("none");
    assert_int_equal(node_volumes_add(all, v), 0);
    assert_true(sd_event_run(event, 1000) >= 0);
    assert_ptr_equal(node_volumes_find(all, "csi-1"), v);
    node_volumes_free(all);
}

static int make_and_free(void *userdata)
{
    struct node_volume *v = NULL;
    int r = make("db", &v);

    if (v != NULL)
        owned_free(v);
    return r;
}

static void test_no_memory(void **state)
{
    failmalloc_try(make_and_free, NULL);
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
    snprintf(target, sizeof(target), "%s.target", dir);
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
    context.event = event;
    r = identities_new(event, &options, &identities);
    assert(r == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_missing_object_ends_request),
        cmocka_unit_test(test_missing_object_without_deadline),
        cmocka_unit_test(test_failed_publish_is_retried_by_request),
        cmocka_unit_test(test_content_waits_for_file_system),
        cmocka_unit_test(test_request_mounts),
        cmocka_unit_test(test_lost_mount_is_mounted_again),
        cmocka_unit_test(test_failed_mount_leaves_no_target),
        cmocka_unit_test(test_cancelled_mount_is_undone),
        cmocka_unit_test(test_freed_while_mounting),
        cmocka_unit_test(test_released_target_stays),
        cmocka_unit_test(test_mounted_volume_is_recorded),
        cmocka_unit_test(test_failed_mount_is_not_recorded),
        cmocka_unit_test(test_freed_volume_is_not_recorded),
        cmocka_unit_test(test_left_volume_stays),
        cmocka_unit_test(test_dead_mount_stays),
        cmocka_unit_test(test_orders_are_recorded),
        cmocka_unit_test(test_notified_update_is_recorded),
        cmocka_unit_test(test_volume_without_consumers_has_no_notified_update),
        cmocka_unit_test(test_consumers_of_an_earlier_process),
        cmocka_unit_test(test_volume_without_a_mount_is_not_left),
        cmocka_unit_test(test_volume_of_an_earlier_process),
        cmocka_unit_test(test_spec_decides_file_system),
        cmocka_unit_test(test_observer),
        cmocka_unit_test(test_default_owner),
        cmocka_unit_test(test_dropped_volume_is_not_found),
        cmocka_unit_test(test_no_memory),
    };
    int r;

    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR);
    set_up();
    r = cmocka_run_group_tests(tests, NULL, NULL);
    identities_free(identities);
    sd_event_unref(event);
    unlink(manifest);
    rmdir(dir);
    return r;
}
