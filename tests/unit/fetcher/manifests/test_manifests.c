/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "encoding/json.h"
#include "fetcher/manifests/manifest_list.h"
#include "fetcher/manifests/manifests.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/private_dir.h"

#define WATCHDOG_SEC 120
#define MAX_FOLLOWED 4

/* What one subscriber of the store saw. */
struct reader {
    struct store_subscription *subscription;
    unsigned n_calls;
    bool was_absent;
};

struct fixture {
    char root[PRIVATE_DIR_SIZE]; /* private; the manifests are in root/dir unless a test says
                                    otherwise */
    sd_event *event;
    struct store *store;
    struct source *source;
    struct reader readers[MAX_FOLLOWED];
    size_t n_readers;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    alarm(WATCHDOG_SEC);
    private_dir_enter(f->root);
    assert_int_equal(mkdir("dir", 0755), 0);
    assert_true(sd_event_new(&f->event) >= 0);
    assert_int_equal(store_new(&f->store), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->n_readers; i++)
        store_unsubscribe(f->readers[i].subscription);
    source_free(f->source);
    store_free(f->store);
    sd_event_unref(f->event);
    private_dir_leave(f->root);
    free(f);
    return 0;
}

/* ---- what tests are written in */

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* As a careful editor does it. */
static void put_over(const char *path, const char *text)
{
    put(".new", text);
    assert_int_equal(rename(".new", path), 0);
}

static const char *configmap(const char *name, const char *value)
{
    static char text[4][256];
    static unsigned n;

    n = (n + 1) % 4;
    snprintf(text[n], sizeof(text[n]),
             "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  key: \"%s\"\n", name,
             value);
    return text[n];
}

static void start(struct fixture *f, const char *dir)
{
    struct error e = ERROR_INIT;

    if (manifest_source_new(f->event, f->store, dir, "default", &f->source, &e) < 0)
        fail_msg("%s", e.text);
    store_set_source(f->store, &f->source->ops->store, f->source);
}

static void on_change(void *userdata, const struct store_view *view)
{
    struct reader *r = userdata;

    r->n_calls++;
    r->was_absent = r->was_absent || view->presence == STORE_ABSENT;
}

static struct reader *follow(struct fixture *f, enum object_kind kind, const char *name)
{
    const struct object_key key = {.kind = kind, .namespace = "default", .name = name};
    struct reader *r = &f->readers[f->n_readers++];

    assert_int_equal(store_subscribe(f->store, &key, on_change, r, &r->subscription, NULL), 0);
    return r;
}

static struct reader *follow_configmap(struct fixture *f, const char *name)
{
    return follow(f, OBJECT_CONFIGMAP, name);
}

static const struct store_view *view(const struct reader *r)
{
    return store_peek(r->subscription);
}

static bool has_value(const struct reader *r, const char *value)
{
    const struct object_entry *entry;

    if (view(r)->presence != STORE_PRESENT)
        return false;
    entry = object_find(view(r)->object, "key");
    return entry != NULL && entry->len == strlen(value) &&
           memcmp(entry->bytes, value, entry->len) == 0;
}

static bool is_absent(const struct reader *r)
{
    return view(r)->presence == STORE_ABSENT;
}

static bool is_live(const struct reader *r)
{
    return view(r)->source_state == STORE_SOURCE_LIVE;
}

/* Failing, with all of a text in the reason. */
static bool fails_with(const struct reader *r, const char *text)
{
    return view(r)->source_state == STORE_SOURCE_FAILING &&
           strstr(kept_error_text(&view(r)->source_error), text) != NULL;
}

/* Let the loop run until something is so; the watchdog ends what never gets there. */
#define RUN_UNTIL(f, condition)                                                                    \
    do {                                                                                           \
        while (!(condition))                                                                       \
            assert_true(sd_event_run((f)->event, UINT64_MAX) >= 0);                                \
    } while (0)

/* Let it run while there is something to do, and a little longer for what must not happen. */
static void run_idle(struct fixture *f)
{
    for (unsigned n_quiet = 0; n_quiet < 5;) {
        int r = sd_event_run(f->event, 10000);

        assert_true(r >= 0);
        n_quiet += r == 0;
        if (sd_event_run(f->event, 0) == 0)
            n_quiet++;
    }
}

static cJSON *describe(struct fixture *f)
{
    cJSON *status = cJSON_CreateObject();

    assert_int_equal(f->source->ops->describe(f->source, status), 0);
    return status;
}

static double described(struct fixture *f, const char *member)
{
    cJSON *status = describe(f);
    double n = cJSON_GetNumberValue(json_member(status, member));

    cJSON_Delete(status);
    return n;
}

/* ---- reading */

static void test_reads_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b, *c, *missing;
    cJSON *status;

    put("dir/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: one}\n"
                      "---\n# nothing\n---\nkind: Deployment\napiVersion: apps/v1\n---\n"
                      "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"
                      "data: {key: b2xk}\nstringData: {key: dummy}\n");
    put("dir/c.json", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMapList\",\"items\":["
                      "{\"metadata\":{\"name\":\"c\"},\"data\":{\"key\":\"\\ud83d\\ude00\"}},"
                      "{\"metadata\":{\"name\":\"d\",\"namespace\":\"x\"}}]}");
    put("dir/e.yml", configmap("e", "five"));
    put("dir/.hidden.yaml", "{");
    put("dir/notes.txt", "{");
    assert_int_equal(mkdir("dir/sub.yaml", 0755), 0);
    assert_int_equal(mkfifo("dir/pipe.yaml", 0600), 0);
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow(f, OBJECT_SECRET, "b");
    c = follow_configmap(f, "c");
    missing = follow_configmap(f, "missing");
    assert_true(has_value(a, "one") && is_live(a));
    assert_true(has_value(b, "dummy") && is_live(b));
    assert_string_equal(view(b)->object->type, "Opaque");
    assert_true(has_value(c, "\xf0\x9f\x98\x80") && is_live(c));
    assert_true(is_absent(missing) && is_live(missing));
    status = describe(f);
    assert_string_equal(json_text(status, "kind"), "manifests");
    assert_non_null(strstr(json_text(status, "directory"), "/dir"));
    assert_null(json_member(status, "problems"));
    cJSON_Delete(status);
    assert_int_equal((int)described(f, "files"), 3);
    assert_int_equal((int)described(f, "objects"), 5);
    assert_int_equal((int)described(f, "badDocuments"), 0);
}

static void expect_failure(struct fixture *f, const char *dir, int code, const char *text)
{
    struct error e = ERROR_INIT;

    assert_int_equal(manifest_source_new(f->event, f->store, dir, "default", &f->source, &e), code);
    if (strstr(e.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, e.text);
}

static void test_directory_is_no_good_at_start(void **state)
{
    struct fixture *f = *state;

    expect_failure(f, "nowhere", -ENOENT, "create the directory");
    put("plain", "");
    expect_failure(f, "plain", -ENOTDIR, "/plain");
    expect_failure(f, "plain/dir", -ENOTDIR, "create the directory");
    assert_int_equal(symlink("loop", "loop"), 0);
    expect_failure(f, "loop", -ELOOP, "/loop");
}

/* ---- changes */

static void test_file_renamed_over(void **state)
{
    struct fixture *f = *state;
    struct reader *r;
    mono_us before;

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    r = follow_configmap(f, "a");
    assert_string_equal(view(r)->object->resource_version, "1");
    before = clock_mono();
    put_over("dir/a.yaml", configmap("a", "two"));
    RUN_UNTIL(f, has_value(r, "two"));
    assert_string_equal(view(r)->object->resource_version, "2");
    assert_true(view(r)->received_at >= before && view(r)->received_at <= clock_mono());
    put_over("dir/b.yaml", configmap("b", "new"));
    r = follow_configmap(f, "b");
    assert_true(is_absent(r));
    RUN_UNTIL(f, has_value(r, "new"));
}

static void test_same_bytes_are_no_change(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;
    unsigned n_calls;

    put("dir/a.yaml", configmap("a", "one"));
    put("dir/b.yaml", configmap("b", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    n_calls = a->n_calls;
    put_over("dir/a.yaml", configmap("a", "one"));
    put_over("dir/b.yaml", configmap("b", "two"));
    RUN_UNTIL(f, has_value(b, "two"));
    assert_string_equal(view(a)->object->resource_version, "1");
    assert_int_equal(a->n_calls, n_calls);
}

static int open_and_write(const char *path, int flags, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void finish(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

#define HEAD "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n"

static void test_half_written_file_waits_for_its_writer(void **state)
{
    struct fixture *f = *state;
    struct reader *a;
    int fd;

    /* there before the source is: nothing but the kernel can tell */
    fd = open_and_write("dir/a.yaml", O_CREAT, HEAD "  key: tw");
    start(f, "dir");
    a = follow_configmap(f, "a");
    run_idle(f);
    assert_true(is_absent(a) && is_live(a));
    finish(fd, "o\n");
    RUN_UNTIL(f, has_value(a, "two"));
    /* rewritten in place */
    fd = open_and_write("dir/a.yaml", O_TRUNC, HEAD "  key: th");
    run_idle(f);
    assert_true(has_value(a, "two") && is_live(a));
    finish(fd, "ree\n");
    RUN_UNTIL(f, has_value(a, "three"));
    /* made new while it is watched */
    fd = open_and_write("dir/b.yaml", O_CREAT, HEAD "  key: fo");
    run_idle(f);
    assert_true(has_value(a, "three") && is_live(a));
    finish(fd, "ur\n");
    RUN_UNTIL(f, has_value(a, "four"));
}

/* Take the right to leases on other users' files away from the process, or give it back. */
static bool set_cap_lease(bool is_on)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    if (is_on)
        data[0].effective |= 1u << CAP_LEASE;
    else
        data[0].effective &= ~(1u << CAP_LEASE);
    return syscall(SYS_capset, &header, data) >= 0;
}

static void test_half_written_file_without_leases(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;
    int fd;

    put("dir/a.yaml", configmap("a", "one"));
    if (chown("dir/a.yaml", 12345, 12345) < 0 || !set_cap_lease(false))
        skip();
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    fd = open_and_write("dir/a.yaml", O_TRUNC, HEAD "  key: tw");
    run_idle(f);
    assert_true(has_value(a, "one") && is_live(a));
    finish(fd, "o\n");
    RUN_UNTIL(f, has_value(a, "two"));
    /* a link is made and never closed: taken after a while */
    put("b.new", configmap("b", "linked"));
    assert_int_equal(chown("b.new", 12345, 12345), 0);
    assert_int_equal(link("b.new", "dir/b.yaml"), 0);
    RUN_UNTIL(f, has_value(b, "linked"));
    assert_true(set_cap_lease(true));
}

static void test_truncated_by_path(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;

    put("dir/a.yaml", HEAD "  key: one\n---\n" HEAD);
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    assert_false(has_value(a, "one")); /* the second document has no key */
    assert_int_equal(truncate("dir/a.yaml", (off_t)strlen(HEAD "  key: one\n")), 0);
    RUN_UNTIL(f, has_value(a, "one"));
    assert_true(is_absent(b));
}

static void test_removed(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b, *c;

    put("dir/a.yaml", configmap("a", "one"));
    put("dir/b.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {key: one}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {key: one}\n");
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    c = follow_configmap(f, "c");
    put_over("dir/b.yaml", configmap("c", "one"));
    RUN_UNTIL(f, is_absent(b));
    assert_true(has_value(c, "one") && is_live(b));
    assert_int_equal(unlink("dir/a.yaml"), 0);
    RUN_UNTIL(f, is_absent(a));
    assert_true(is_live(a) && has_value(c, "one"));
    assert_non_null(view(a)->object); /* the store keeps what was seen last */
    assert_int_equal(unlink("dir/b.yaml"), 0);
    RUN_UNTIL(f, is_absent(c));
    assert_int_equal((int)described(f, "objects"), 0);
}

static void test_moved_away_and_written_again(void **state)
{
    struct fixture *f = *state;
    struct reader *a;
    int fd;

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_int_equal(rename("dir/a.yaml", "dir/a.yaml~"), 0);
    while (sd_event_run(f->event, 0) > 0)
        ;
    fd = open_and_write("dir/a.yaml", O_CREAT, HEAD "  key: tw");
    while (sd_event_run(f->event, 0) > 0)
        ;
    finish(fd, "o\n");
    RUN_UNTIL(f, has_value(a, "two"));
    assert_false(a->was_absent);
}

/* ---- links and directories */

static void test_swapped_as_the_kubelet_does(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;

    assert_int_equal(mkdir("dir/..1", 0755), 0);
    put("dir/..1/a.yaml", configmap("a", "one"));
    put("dir/..1/b.yaml", configmap("b", "one"));
    assert_int_equal(symlink("..1", "dir/..data"), 0);
    assert_int_equal(symlink("..data/a.yaml", "dir/a.yaml"), 0);
    assert_int_equal(symlink("..data/b.yaml", "dir/b.yaml"), 0);
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    assert_true(has_value(a, "one") && has_value(b, "one"));

    assert_int_equal(mkdir("dir/..2", 0755), 0);
    put("dir/..2/a.yaml", configmap("a", "two"));
    assert_int_equal(symlink("..2", "dir/..data_tmp"), 0);
    assert_int_equal(rename("dir/..data_tmp", "dir/..data"), 0);
    RUN_UNTIL(f, has_value(a, "two"));
    /* not removed while its link still says that it should be there */
    RUN_UNTIL(f, fails_with(b, "b.yaml"));
    assert_true(has_value(b, "one"));
    assert_int_equal(unlink("dir/b.yaml"), 0);
    RUN_UNTIL(f, is_absent(b));
    assert_true(is_live(b) && is_live(a));
}

static void test_symlink_to_a_file_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct reader *a;

    assert_int_equal(mkdir("elsewhere", 0755), 0);
    put("elsewhere/one", configmap("a", "one"));
    put("elsewhere/two", configmap("a", "two"));
    assert_int_equal(symlink("../elsewhere/one", "dir/a.yaml"), 0);
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_true(has_value(a, "one"));
    put("elsewhere/one", configmap("a", "in place"));
    RUN_UNTIL(f, has_value(a, "in place"));
    put_over("elsewhere/one", configmap("a", "renamed over"));
    RUN_UNTIL(f, has_value(a, "renamed over"));
    assert_int_equal(symlink("../elsewhere/two", "dir/.tmp"), 0);
    assert_int_equal(rename("dir/.tmp", "dir/a.yaml"), 0);
    RUN_UNTIL(f, has_value(a, "two"));
    assert_int_equal(unlink("elsewhere/two"), 0);
    RUN_UNTIL(f, fails_with(a, "a.yaml"));
    assert_true(has_value(a, "two"));
    put("elsewhere/two", configmap("a", "back"));
    RUN_UNTIL(f, has_value(a, "back") && is_live(a));
}

static void test_directory_is_a_symlink(void **state)
{
    struct fixture *f = *state;
    struct reader *a;

    assert_int_equal(mkdir("releases", 0755), 0);
    assert_int_equal(mkdir("releases/1", 0755), 0);
    assert_int_equal(mkdir("releases/1/manifests", 0755), 0);
    assert_int_equal(mkdir("releases/2", 0755), 0);
    assert_int_equal(mkdir("releases/2/manifests", 0755), 0);
    put("releases/1/manifests/a.yaml", configmap("a", "one"));
    put("releases/2/manifests/a.yaml", configmap("a", "two"));
    assert_int_equal(symlink("1", "releases/current"), 0);
    assert_int_equal(symlink("releases/current/manifests", "link"), 0);
    start(f, "link");
    a = follow_configmap(f, "a");
    assert_true(has_value(a, "one"));
    assert_int_equal(symlink("2", "releases/.tmp"), 0);
    assert_int_equal(rename("releases/.tmp", "releases/current"), 0);
    RUN_UNTIL(f, has_value(a, "two"));
    put_over("releases/2/manifests/a.yaml", configmap("a", "three"));
    RUN_UNTIL(f, has_value(a, "three"));
    assert_int_equal(unlink("link"), 0);
    assert_int_equal(symlink("releases/1/manifests", "link"), 0);
    RUN_UNTIL(f, has_value(a, "one") && is_live(a));
}

static void test_directory_goes_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *missing;

    assert_int_equal(mkdir("parent", 0755), 0);
    assert_int_equal(rename("dir", "parent/dir"), 0);
    put("parent/dir/a.yaml", configmap("a", "one"));
    start(f, "parent/dir");
    a = follow_configmap(f, "a");
    missing = follow_configmap(f, "missing");
    /* the directory is moved away and replaced */
    assert_int_equal(rename("parent/dir", "parent/old"), 0);
    RUN_UNTIL(f, fails_with(a, "/parent/dir is missing"));
    assert_true(has_value(a, "one") && fails_with(missing, "is missing"));
    assert_int_equal(mkdir("parent/dir", 0755), 0);
    RUN_UNTIL(f, fails_with(a, "without any manifests"));
    assert_true(has_value(a, "one"));
    put_over("parent/dir/a.yaml", configmap("a", "two"));
    RUN_UNTIL(f, has_value(a, "two") && is_live(a) && is_live(missing));
    /* its parent is moved away and comes back */
    assert_int_equal(rename("parent", "elsewhere"), 0);
    RUN_UNTIL(f, fails_with(a, "is missing"));
    put("elsewhere/dir/a.yaml", configmap("a", "three"));
    assert_int_equal(rename("elsewhere", "parent"), 0);
    RUN_UNTIL(f, has_value(a, "three") && is_live(a));
    assert_false(a->was_absent);
}

static void test_follows_while_the_directory_is_gone(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_int_equal(rename("dir", "old"), 0);
    RUN_UNTIL(f, fails_with(a, "is missing"));
    /* whether there is one cannot be known */
    b = follow_configmap(f, "b");
    assert_int_equal(view(b)->presence, STORE_UNKNOWN);
    assert_true(fails_with(b, "is missing"));
    assert_int_equal(rename("old", "dir"), 0);
    RUN_UNTIL(f, is_absent(b) && is_live(b) && is_live(a));
}

static void test_unmounted_directory(void **state)
{
    struct fixture *f = *state;
    struct reader *a;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "dir", "tmpfs", 0, NULL) < 0)
        skip();
    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_int_equal(umount2("dir", MNT_DETACH), 0);
    RUN_UNTIL(f, fails_with(a, "without any manifests"));
    assert_true(has_value(a, "one"));
    /* something is mounted over the directory: no event for inotify */
    assert_int_equal(mkdir("other", 0755), 0);
    put("other/a.yaml", configmap("a", "two"));
    assert_int_equal(mount("other", "dir", NULL, MS_BIND, NULL), 0);
    RUN_UNTIL(f, has_value(a, "two") && is_live(a));
    assert_int_equal(umount2("dir", MNT_DETACH), 0);
}

/* ---- mistakes in manifests */

#define BAD_VALUE(name)                                                                            \
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " name "}\ndata: {key: 1}\n"

static void test_bad_document_keeps_the_last_good_object(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b, *never;

    put("dir/a.yaml", configmap("a", "one"));
    put("dir/other.yaml", configmap("b", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    put_over("dir/a.yaml", BAD_VALUE("a") "---\n" BAD_VALUE("never"));
    put_over("dir/other.yaml", configmap("b", "two"));
    RUN_UNTIL(f, has_value(b, "two"));
    assert_true(has_value(a, "one") && is_live(b));
    assert_true(fails_with(a, "a.yaml: line 1: configmap/default/a: the value of key \"key\""));
    never = follow_configmap(f, "never");
    assert_int_equal(view(never)->presence, STORE_UNKNOWN);
    assert_true(fails_with(never, "a.yaml: line 6: configmap/default/never"));
    assert_int_equal((int)described(f, "badDocuments"), 2);
    put_over("dir/a.yaml", configmap("a", "mended"));
    RUN_UNTIL(f, has_value(a, "mended") && is_live(a));
    assert_true(is_absent(never) && is_live(never));
    assert_int_equal((int)described(f, "badDocuments"), 0);
}

static void test_file_that_does_not_parse(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b, *c, *missing;
    cJSON *status;

    put("dir/a.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: one}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {key: one}\n");
    put("dir/c.yaml", configmap("c", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    c = follow_configmap(f, "c");
    missing = follow_configmap(f, "missing");
    /* the document of b is broken beyond its name, the one of a is new */
    put_over("dir/a.yaml",
             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: two}\n"
             "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b\ndata: {\n");
    RUN_UNTIL(f, has_value(a, "two"));
    assert_true(is_live(a) && has_value(b, "one") && fails_with(b, "a.yaml: line "));
    assert_true(has_value(c, "one") && is_live(c));
    assert_true(is_absent(missing) && fails_with(missing, "a.yaml: line "));
    status = describe(f);
    assert_int_equal(cJSON_GetArraySize(json_member(status, "problems")), 1);
    cJSON_Delete(status);
    /* nothing of it can be read */
    put_over("dir/a.yaml", "\xff\xfe");
    RUN_UNTIL(f, fails_with(a, "a.yaml: line 1: the text is not UTF-8"));
    assert_true(has_value(a, "two") && has_value(b, "one") && fails_with(b, "not UTF-8"));
    put_over("dir/a.yaml", configmap("a", "three"));
    RUN_UNTIL(f, has_value(a, "three") && is_live(a));
    assert_true(is_absent(b) && is_live(b) && is_live(missing));
}

static void test_object_in_two_files(void **state)
{
    struct fixture *f = *state;
    struct reader *a;

    put("dir/a.yaml", configmap("a", "one"));
    put("dir/b.yaml", configmap("a", "two"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_true(has_value(a, "two"));
    /* bad now where it counts: what is known stays */
    put_over("dir/b.yaml", BAD_VALUE("a"));
    RUN_UNTIL(f, fails_with(a, "b.yaml"));
    assert_true(has_value(a, "two"));
    assert_int_equal(unlink("dir/b.yaml"), 0);
    RUN_UNTIL(f, has_value(a, "one"));
    assert_true(is_live(a));
    assert_false(a->was_absent);
}

/* ---- limits */

static void test_file_too_large(void **state)
{
    struct fixture *f = *state;
    struct reader *a;

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    assert_int_equal(truncate("dir/a.yaml", (off_t)MANIFEST_LIST_MAX_BYTES + 1), 0);
    RUN_UNTIL(f, fails_with(a, "a.yaml: the file is larger than 8 MiB"));
    assert_true(has_value(a, "one"));
    put_over("dir/a.yaml", configmap("a", "two"));
    RUN_UNTIL(f, has_value(a, "two") && is_live(a));
}

static void test_too_many_documents(void **state)
{
    struct fixture *f = *state;
    struct reader *a, *b;
    FILE *file = fopen("dir/a.yaml", "we");

    assert_non_null(file);
    assert_true(fputs(configmap("a", "one"), file) >= 0);
    for (unsigned i = 0; i < MANIFEST_LIST_MAX_DOCUMENTS; i++)
        assert_true(fputs("---\nx\n", file) >= 0);
    assert_true(fprintf(file, "---\n%s", configmap("b", "one")) > 0);
    assert_int_equal(fclose(file), 0);
    start(f, "dir");
    a = follow_configmap(f, "a");
    b = follow_configmap(f, "b");
    assert_true(has_value(a, "one") && is_live(a));
    assert_true(is_absent(b) && fails_with(b, "more than 10000 documents"));
}

static void test_too_many_files(void **state)
{
    struct fixture *f = *state;
    struct reader *a;
    char path[32];

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    for (unsigned i = 0; i < MANIFESTS_MAX_FILES; i++) {
        snprintf(path, sizeof(path), "dir/%05u.yaml", i);
        assert_int_equal(mknod(path, S_IFREG | 0600, 0), 0);
    }
    put_over("dir/a.yaml", configmap("a", "two"));
    RUN_UNTIL(f, fails_with(a, "more than 10000 manifests"));
    assert_true(has_value(a, "one"));
    assert_int_equal(unlink("dir/00000.yaml"), 0);
    RUN_UNTIL(f, has_value(a, "two") && is_live(a));
    expect_failure(f, "nowhere", -ENOENT, "create the directory");
}

static void test_more_events_than_the_queue_holds(void **state)
{
    struct fixture *f = *state;
    struct reader *a;
    int x, y;

    put("dir/a.yaml", configmap("a", "one"));
    start(f, "dir");
    a = follow_configmap(f, "a");
    x = open_and_write("dir/x.yaml", O_CREAT, "x");
    y = open_and_write("dir/y.yaml", O_CREAT, "y");
    /* turn by turn, as the kernel folds equal events into one; the queue's default is 16384 */
    for (unsigned i = 0; i < 10000; i++)
        assert_true(write(x, "x", 1) == 1 && write(y, "y", 1) == 1);
    put_over("dir/a.yaml", configmap("a", "two"));
    assert_int_equal(close(x), 0);
    assert_int_equal(close(y), 0);
    RUN_UNTIL(f, has_value(a, "two"));
    put_over("dir/a.yaml", configmap("a", "three"));
    RUN_UNTIL(f, has_value(a, "three"));
}

#define MANY_KINDS                                                                                 \
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {key: one}\n---\n" BAD_VALUE(     \
        "b") "---\n{\n---\napiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, "    \
             "metadata: {name: c}, stringData: {a: b}}, {apiVersion: v1, kind: Secret}]\n"

/* A list that inherits from a better one. */
static int try_lists(void *userdata)
{
    struct manifest_list before = {.items = NULL}, now = {.items = NULL};
    int r = manifest_list_parse("f", MANY_KINDS, strlen(MANY_KINDS), "default", "1", &before);

    if (r >= 0)
        r = manifest_list_parse("f", BAD_VALUE("a") "---\n{\n", strlen(BAD_VALUE("a") "---\n{\n"),
                                "default", "2", &now);
    if (r >= 0)
        r = manifest_list_inherit(&now, &before);
    manifest_list_deinit(&before);
    manifest_list_deinit(&now);
    return r;
}

static int try_source(void *userdata)
{
    struct fixture *f = userdata;
    struct source *source = NULL;
    int r = manifest_source_new(f->event, f->store, "dir", "default", &source, NULL);

    source_free(source);
    return r;
}

static void test_without_memory(void **state)
{
    struct fixture *f = *state;

    failmalloc_try(try_lists, NULL);
    put("elsewhere.yaml", "{}");
    assert_int_equal(symlink("../elsewhere.yaml", "dir/c.yaml"), 0);
    failmalloc_try(try_source, f);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_reads_what_is_there),
        TEST(test_directory_is_no_good_at_start),
        TEST(test_file_renamed_over),
        TEST(test_same_bytes_are_no_change),
        TEST(test_half_written_file_waits_for_its_writer),
        TEST(test_half_written_file_without_leases),
        TEST(test_truncated_by_path),
        TEST(test_removed),
        TEST(test_moved_away_and_written_again),
        TEST(test_swapped_as_the_kubelet_does),
        TEST(test_symlink_to_a_file_elsewhere),
        TEST(test_directory_is_a_symlink),
        TEST(test_directory_goes_and_comes_back),
        TEST(test_follows_while_the_directory_is_gone),
        TEST(test_bad_document_keeps_the_last_good_object),
        TEST(test_file_that_does_not_parse),
        TEST(test_object_in_two_files),
        TEST(test_file_too_large),
        TEST(test_too_many_documents),
        TEST(test_too_many_files),
        TEST(test_more_events_than_the_queue_holds),
        TEST(test_without_memory),
        TEST(test_unmounted_directory), /* last: leaves the namespace of mounts */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
