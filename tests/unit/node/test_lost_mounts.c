/* SPDX-License-Identifier: Apache-2.0 */
/* Which mounts are lost, and the events on their pods. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "node/lost_mounts.h"

#define ROOT "/var/lib/kubelet/pods"

struct fixture {
    sd_event *event;
    struct lost_mounts *lost;
    size_t n_posted;
    size_t n_refused; /* calls that a limit refuses */
    char posted[512]; /* the last one */
};

static int post(void *userdata, const struct pod_event *event)
{
    struct fixture *f = userdata;

    if (f->n_refused > 0) {
        f->n_refused--;
        return -EAGAIN;
    }
    f->n_posted++;
    snprintf(f->posted, sizeof(f->posted), "%s%s %s/%s %s: %s", event->reason,
             event->is_warning ? "!" : "", event->namespace, event->pod, event->pod_uid,
             event->message);
    return 0;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct lost_mounts_options options = {.driver_name = "csi.secretfs.io",
                                                .target_root = ROOT,
                                                .devices = {7, 8},
                                                .retry_after = SPAN_MS(1),
                                                .post = post,
                                                .userdata = f};

    assert_non_null(f);
    assert_int_equal(sd_event_new(&f->event), 0);
    assert_int_equal(lost_mounts_new(f->event, &options, &f->lost), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    lost_mounts_free(f->lost);
    sd_event_unref(f->event);
    free(f);
    return 0;
}

static void note(struct fixture *f, const struct mountinfo *like, const char *path)
{
    struct mountinfo mount = *like;

    mount.mountpoint = path;
    if (mount.fs_type == NULL)
        mount.fs_type = "fuse.secretfs";
    if (mount.source == NULL)
        mount.source = "csi.secretfs.io";
    if (mount.device == 0)
        mount.device = 6;
    assert_true(lost_mounts_note(f->lost, &mount));
}

#define TARGET(uid, volume) ROOT "/" uid "/volumes/kubernetes.io~csi/" volume "/mount"

static void bring(struct fixture *f, const char *name, const char *uid, bool is_deleted)
{
    const struct pod pod = {
        .namespace = "prod", .name = name, .uid = uid, .is_deleted = is_deleted};

    lost_mounts_on_pod(f->lost, &pod);
}

static void test_event(void **state)
{
    struct fixture *f = *state;

    note(f, &(struct mountinfo){.id = 1}, TARGET("u1", "creds"));
    assert_true(lost_mounts_report(f->lost));
    bring(f, "web-0", "u2", false);
    assert_int_equal(f->n_posted, 0);
    bring(f, "web-0", "u1", false);
    assert_string_equal(f->posted,
                        "VolumeMountLost! prod/web-0 u1: volume creds: the mount has ended "
                        "with an earlier daemon of the node, and containers get ENOTCONN; "
                        "delete the pod, so that another one replaces it");
    bring(f, "web-0", "u1", false); /* it has changed */
    assert_int_equal(f->n_posted, 1);
}

static void test_several_volumes_of_a_pod(void **state)
{
    struct fixture *f = *state;

    note(f, &(struct mountinfo){.id = 1}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.id = 2}, TARGET("u1", "more"));
    note(f, &(struct mountinfo){.id = 3}, TARGET("u1", "most"));
    bring(f, "web-0", "u1", false);
    assert_int_equal(f->n_posted, 1);
    assert_non_null(strstr(f->posted, "volume creds (and 2 more): "));
}

static void test_mounts_that_are_not_lost(void **state)
{
    struct fixture *f = *state;

    note(f, &(struct mountinfo){.device = 7}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.device = 8}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.fs_type = "tmpfs"}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.source = "other.secretfs.io"}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.id = 1}, "/elsewhere/u1/volumes/kubernetes.io~csi/creds/mount");
    note(f, &(struct mountinfo){.id = 1}, ROOT "more/u1/volumes/kubernetes.io~csi/creds/mount");
    note(f, &(struct mountinfo){.id = 1}, ROOT "/u1/volume-subpaths/creds/main/0");
    note(f, &(struct mountinfo){.id = 1}, ROOT);
    note(f, &(struct mountinfo){.id = 1}, ROOT "/u1");
    assert_false(lost_mounts_report(f->lost));
    bring(f, "web-0", "u1", false);
    assert_int_equal(f->n_posted, 0);
}

static void test_pod_that_is_deleted(void **state)
{
    struct fixture *f = *state;

    note(f, &(struct mountinfo){.id = 1}, TARGET("u1", "creds"));
    bring(f, "web-0", "u1", true);
    assert_int_equal(f->n_posted, 0);
}

static void test_event_that_a_limit_defers(void **state)
{
    struct fixture *f = *state;

    f->n_refused = 3;
    note(f, &(struct mountinfo){.id = 1}, TARGET("u1", "creds"));
    note(f, &(struct mountinfo){.id = 2}, TARGET("u2", "creds"));
    bring(f, "web-0", "u1", false);
    bring(f, "web-1", "u2", false);
    assert_int_equal(f->n_posted, 0);
    while (f->n_posted < 2)
        assert_true(sd_event_run(f->event, UINT64_MAX) > 0);
    assert_int_equal(sd_event_run(f->event, 0), 0); /* no timer is left */
}

static void test_more_pods_than_there_may_be(void **state)
{
    struct fixture *f = *state;
    char path[128], uid[16];

    for (unsigned i = 0; i <= LOST_MOUNTS_MAX; i++) {
        snprintf(path, sizeof(path), TARGET("u%u", "creds"), i);
        note(f, &(struct mountinfo){.id = 1}, path);
    }
    assert_true(lost_mounts_report(f->lost));
    for (unsigned i = 0; i <= LOST_MOUNTS_MAX; i++) {
        snprintf(uid, sizeof(uid), "u%u", i);
        bring(f, "web-0", uid, false);
    }
    assert_int_equal(f->n_posted, LOST_MOUNTS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_event, setup, teardown),
        cmocka_unit_test_setup_teardown(test_several_volumes_of_a_pod, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mounts_that_are_not_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pod_that_is_deleted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_that_a_limit_defers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_pods_than_there_may_be, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
