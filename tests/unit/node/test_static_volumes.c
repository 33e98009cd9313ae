/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/static_volumes.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/private_dir.h"

#define WATCHDOG_SEC 120
#define EVENTS_MAX   8192

struct fixture {
    char root[PRIVATE_DIR_SIZE]; /* private, and the current directory; the volumes are in
                                    root/volumes.d */
    char path[80];
    sd_event *event;
    struct static_volumes *volumes;
    char events[EVENTS_MAX]; /* "+name:target", "-name:target", "~name:target", "!file", "=file" */
    char reason[ERROR_TEXT_MAX];
    size_t n_volumes; /* added and not removed */
};

/* ---- recording events */

static void add_event(struct fixture *f, char sign, const char *name, const char *target)
{
    size_t len = strlen(f->events);

    assert_true(snprintf(f->events + len, sizeof(f->events) - len, "%c%s%s%s ", sign, name,
                         target != NULL ? ":" : "",
                         target != NULL ? target : "") < (int)(sizeof(f->events) - len));
}

static void on_added(void *userdata, struct static_volume *volume)
{
    struct fixture *f = userdata;

    f->n_volumes++;
    add_event(userdata, '+', volume->name, volume->target);
}

static void on_changed(void *userdata, const struct static_volume *old,
                       struct static_volume *volume)
{
    assert_string_equal(old->target, volume->target);
    assert_string_equal(old->name, volume->name);
    add_event(userdata, '~', volume->name, volume->spec->sources[0].name);
}

static void on_removed(void *userdata, const struct static_volume *volume)
{
    struct fixture *f = userdata;

    f->n_volumes--;
    add_event(userdata, '-', volume->name, volume->target);
}

static void on_failed(void *userdata, const char *file, const char *reason)
{
    struct fixture *f = userdata;
    const char *slash = strrchr(file, '/');

    add_event(f, reason != NULL ? '!' : '=', slash != NULL ? slash : file, NULL);
    if (reason != NULL)
        snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static const struct static_volumes_callbacks callbacks = {
    .added = on_added, .changed = on_changed, .removed = on_removed, .failed = on_failed};

/* ---- the fixture */

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    alarm(WATCHDOG_SEC);
    private_dir_enter(f->root);
    snprintf(f->path, sizeof(f->path), "%s/volumes.d", f->root);
    assert_int_equal(mkdir(f->path, 0755), 0);
    assert_true(sd_event_new(&f->event) >= 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->volumes = static_volumes_free(f->volumes);
    sd_event_unref(f->event);
    private_dir_leave(f->root);
    free(f);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* @secret: name of the secret that the volume shows */
static void put_volume(const char *name, const char *target, const char *secret)
{
    char path[128], text[256];

    snprintf(path, sizeof(path), "volumes.d/%s", name);
    snprintf(text, sizeof(text), "target: %s\nvolume: {secret: {secretName: %s}}\n", target,
             secret);
    put(".new", text);
    assert_int_equal(rename(".new", path), 0);
}

static void start(struct fixture *f)
{
    struct error e = ERROR_INIT;

    if (static_volumes_new(f->event, f->path, &callbacks, f, &f->volumes, &e) < 0)
        fail_msg("%s", e.text);
    static_volumes_refresh(f->volumes);
}

/* Compare the events since the last call. */
static void expect(struct fixture *f, const char *events)
{
    if (!streq(f->events, events))
        fail_msg("events were \"%s\" and not \"%s\"; last reason: %s", f->events, events,
                 f->reason);
    f->events[0] = '\0';
}

/* Run the loop until there are as many events, and compare. */
static void wait_for(struct fixture *f, const char *events)
{
    while (strlen(f->events) < strlen(events))
        assert_true(sd_event_run(f->event, UINT64_MAX) >= 0);
    expect(f, events);
}

/* ---- tests */

static void test_files_at_the_start(void **state)
{
    struct fixture *f = *state;

    put_volume("b.yaml", "/b", "s");
    put_volume("a.yaml", "/a", "s");
    put_volume(".hidden.yaml", "/c", "s");
    put_volume("c.yaml.bak", "/d", "s");
    put_volume("d.yml", "/e", "s");
    start(f);
    expect(f, "+a:/a +b:/b ");
    assert_int_equal(f->n_volumes, 2);
    static_volumes_refresh(f->volumes);
    expect(f, "");
}

static void test_added_changed_removed(void **state)
{
    struct fixture *f = *state;

    start(f);
    expect(f, "");
    put_volume("a.yaml", "/a", "s");
    wait_for(f, "+a:/a ");
    put_volume("a.yaml", "/a", "t");
    wait_for(f, "~a:t ");
    put_volume("a.yaml", "/b", "t");
    wait_for(f, "-a:/a +a:/b ");
    assert_int_equal(rename("volumes.d/a.yaml", "volumes.d/b.yaml"), 0);
    wait_for(f, "!b.yaml -a:/b +b:/b =b.yaml ");
    assert_int_equal(unlink("volumes.d/b.yaml"), 0);
    wait_for(f, "-b:/b ");
    assert_int_equal(f->n_volumes, 0);
}

/* The editor moves the old file away, then writes the new one. */
static void test_editor_with_backup(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    start(f);
    expect(f, "+a:/a ");
    assert_int_equal(rename("volumes.d/a.yaml", "volumes.d/a.yaml~"), 0);
    static_volumes_refresh(f->volumes);
    put_volume("a.yaml", "/a", "t");
    wait_for(f, "~a:t ");
}

static void test_unchanged_text_is_no_change(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    start(f);
    expect(f, "+a:/a ");
    put_volume("a.yaml", "/a", "s");
    static_volumes_refresh(f->volumes);
    expect(f, "");
}

static void test_file_open_for_writing_is_not_read(void **state)
{
    static const char half[] = "target: /a\nvolume: {secret: {secretName: a";
    struct fixture *f = *state;
    int fd;

    start(f);
    fd = open("volumes.d/a.yaml", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, half, strlen(half)), strlen(half));
    static_volumes_refresh(f->volumes);
    expect(f, "");
    assert_int_equal(write(fd, "}}\n", 3), 3);
    assert_int_equal(close(fd), 0);
    wait_for(f, "+a:/a ");
}

static void test_invalid_file_keeps_its_volume(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    start(f);
    expect(f, "+a:/a ");
    put_volume("a.yaml", "a", "s");
    wait_for(f, "!a.yaml ");
    assert_string_equal(f->reason, "target: \"a\" is not an absolute path");
    assert_int_equal(f->n_volumes, 1);
    static_volumes_refresh(f->volumes);
    expect(f, "");
    put_volume("a.yaml", "/a", "s"); /* the last valid text again */
    wait_for(f, "=a.yaml ");
    put_volume("a.yaml", "/a", "A");
    wait_for(f, "!a.yaml ");
    put_volume("a.yaml", "/a", "t");
    wait_for(f, "~a:t =a.yaml ");
    put_volume("a.yaml", "a", "t");
    wait_for(f, "!a.yaml ");
    assert_int_equal(unlink("volumes.d/a.yaml"), 0);
    wait_for(f, "-a:/a =a.yaml ");
}

static void test_not_a_regular_file(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir("volumes.d/a.yaml", 0755), 0);
    start(f);
    expect(f, "!a.yaml ");
    assert_string_equal(f->reason, "not a regular file");
}

static void test_symlink_is_followed(void **state)
{
    struct fixture *f = *state;

    put_volume("../real", "/a", "s");
    assert_int_equal(symlink("../real", "volumes.d/a.yaml"), 0);
    start(f);
    expect(f, "+a:/a ");
    put_volume("../real", "/a", "t");
    wait_for(f, "~a:t ");
}

static void test_equal_targets_conflict(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/t", "s");
    put_volume("b.yaml", "/t", "s");
    start(f);
    expect(f, "!b.yaml +a:/t ");
    assert_string_equal(f->reason, "target: /t is already used by a.yaml");
    put_volume("0.yaml", "/t", "s"); /* the existing volume keeps it */
    wait_for(f, "!0.yaml ");
    assert_int_equal(unlink("volumes.d/a.yaml"), 0);
    wait_for(f, "-a:/t !b.yaml +0:/t =0.yaml ");
    assert_string_equal(f->reason, "target: /t is already used by 0.yaml");
    put_volume("b.yaml", "/u", "s");
    wait_for(f, "+b:/u =b.yaml ");
}

static void test_overlapping_targets_conflict(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/t/u", "s");
    put_volume("b.yaml", "/t", "s");
    put_volume("c.yaml", "/t/u/v", "s");
    put_volume("d.yaml", "/t/uu", "s");
    start(f);
    expect(f, "!b.yaml !c.yaml +a:/t/u +d:/t/uu ");
    assert_string_equal(f->reason, "target: /t/u/v overlaps with /t/u of a.yaml");
    assert_int_equal(unlink("volumes.d/a.yaml"), 0);
    assert_int_equal(unlink("volumes.d/d.yaml"), 0);
    wait_for(f, "-a:/t/u -d:/t/uu !c.yaml +b:/t =b.yaml ");
}

static void test_targets_can_be_swapped(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    put_volume("b.yaml", "/b", "s");
    start(f);
    expect(f, "+a:/a +b:/b ");
    put_volume("a.yaml", "/b", "s");
    static_volumes_refresh(f->volumes);
    expect(f, "!a.yaml ");
    put_volume("b.yaml", "/a", "s");
    static_volumes_refresh(f->volumes);
    expect(f, "-a:/a -b:/b +a:/b =a.yaml +b:/a ");
}

/* A file that cannot move keeps its target from a third one. */
static void test_conflict_causes_conflict(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    put_volume("b.yaml", "/b", "s");
    put_volume("c.yaml", "/c", "s");
    start(f);
    expect(f, "+a:/a +b:/b +c:/c ");
    put_volume("a.yaml", "/b", "s");
    put_volume("b.yaml", "/c", "s");
    static_volumes_refresh(f->volumes);
    expect(f, "!a.yaml !b.yaml ");
    assert_int_equal(f->n_volumes, 3);
}

static void test_directory_is_created_later(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rmdir(f->path), 0);
    start(f);
    expect(f, "");
    assert_int_equal(mkdir(f->path, 0755), 0);
    put_volume("a.yaml", "/a", "s");
    wait_for(f, "+a:/a ");
}

static void test_directory_disappears(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    start(f);
    expect(f, "+a:/a ");
    assert_int_equal(rename("volumes.d", "elsewhere"), 0);
    wait_for(f, "!/volumes.d ");
    assert_non_null(strstr(f->reason, "its files stay in effect"));
    assert_int_equal(f->n_volumes, 1);
    assert_int_equal(rename("elsewhere", "volumes.d"), 0);
    wait_for(f, "=/volumes.d ");
}

static void test_file_limit(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i <= STATIC_VOLUMES_MAX; i++) {
        char name[32];

        snprintf(name, sizeof(name), "volumes.d/%04u.yaml", i);
        put(name, "x");
    }
    start(f);
    expect(f, "!/volumes.d ");
    assert_non_null(strstr(f->reason, "more than 1024 files"));
    assert_int_equal(f->n_volumes, 0);
}

static void test_file_too_long(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(STATIC_VOLUME_MAX_BYTES + 2);

    assert(text != NULL);
    memset(text, ' ', STATIC_VOLUME_MAX_BYTES + 1);
    text[STATIC_VOLUME_MAX_BYTES + 1] = '\0';
    put("volumes.d/a.yaml", text);
    free(text);
    start(f);
    expect(f, "!a.yaml ");
    assert_non_null(strstr(f->reason, "larger than 1536 KiB"));
}

static int create_and_scan(void *userdata)
{
    struct fixture *f = userdata;
    struct static_volumes *volumes = NULL;
    struct error e = ERROR_INIT;
    sd_event *event;
    int r = sd_event_new(&event);

    if (r < 0)
        return r;
    f->events[0] = '\0';
    f->n_volumes = 0;
    r = static_volumes_new(event, f->path, &callbacks, f, &volumes, &e);
    if (r == 0)
        static_volumes_refresh(volumes);
    r = r == 0 && f->n_volumes != 1 ? -ENOMEM : r;
    static_volumes_free(volumes);
    sd_event_unref(event);
    return r;
}

static void test_no_memory(void **state)
{
    struct fixture *f = *state;

    put_volume("a.yaml", "/a", "s");
    failmalloc_try(create_and_scan, f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_files_at_the_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_added_changed_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_editor_with_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unchanged_text_is_no_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_open_for_writing_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalid_file_keeps_its_volume, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_a_regular_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_symlink_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_equal_targets_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlapping_targets_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_targets_can_be_swapped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_causes_conflict, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory_is_created_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory_disappears, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("static_volumes", tests, NULL, NULL);
}
