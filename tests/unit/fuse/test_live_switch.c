/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/live_switch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/secmem.h"
#include "tests/unit/assert_between.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/live_volume.h"

static size_t n_changes(const struct live_switch *s)
{
    size_t n;

    live_switch_changes(s, &n);
    return n;
}

static void assert_change(const struct live_switch *s, size_t i, uint64_t id, size_t root,
                          const char *path)
{
    size_t n;
    const struct live_change *changes = live_switch_changes(s, &n);

    assert_true(i < n);
    assert_int_equal(changes[i].id, id);
    assert_int_equal(changes[i].root, root);
    assert_string_equal(changes[i].path, path);
}

/* As the publisher does it during a switch. */
static void assert_publisher_opens(struct live_volume *v, uint64_t id, const char *text)
{
    struct live_open *open = NULL;

    assert_int_equal(
        live_file_open(v->tree, id, &(struct live_opener){.thread = 0, .may_wait = false}, &open),
        0);
    assert_has(v, id, open, text);
    live_file_close(v->tree, open);
}

/* ---- opens wait for a switch */

static void opens_wait_until_the_switch_is_freed(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s = prepare(v, "a=newer d/b=two");

    assert_int_equal(n_changes(s), 1);
    assert_waits(v, v->a);
    assert_publisher_opens(v, v->a, "one");
    assert_opens_with(v, v->b, "two");
    assert_opens_with(v, v->c, "three");
    live_switch_commit(s);
    assert_waits(v, v->a); /* the kernel has the size of the older version */
    assert_publisher_opens(v, v->a, "newer");
    live_switch_free(s);
    assert_opens_with(v, v->a, "newer");
}

/* The publisher waits for a directory that a process holds, before the commit and after it. */
static void opens_go_on_while_a_switch_is_held_up(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s = prepare(v, "a=newer d/b=two");

    live_file_let_opens(v->tree, v->volume, true);
    assert_opens_with(v, v->a, "one");
    assert_false(is_settled(v, v->a));
    live_file_let_opens(v->tree, v->volume, false);
    assert_waits(v, v->a);
    live_switch_commit(s);
    live_file_let_opens(v->tree, v->volume, true);
    assert_opens_with(v, v->a, "newer");
    assert_false(is_settled(v, v->a));
    live_file_let_opens(v->tree, v->volume, false);
    live_switch_free(s);
    live_file_let_opens(v->tree, v->a, true); /* no directory */
}

static void nothing_is_settled_until_the_switch_is_freed(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s;

    assert_true(is_settled(v, v->a));
    assert_opens_with(v, v->a, "one");
    assert_true(is_settled(v, v->a));
    s = prepare(v, "a=newer d/b=two");
    assert_false(is_settled(v, v->a));
    assert_true(is_settled(v, v->b)); /* its bytes stay */
    assert_true(is_settled(v, v->c)); /* the payload does not have it */
    live_switch_commit(s);
    assert_false(is_settled(v, v->a));
    assert_true(is_settled(v, v->b));
    live_switch_free(s);
    assert_true(is_settled(v, v->a)); /* nothing older is open */
}

static void what_is_not_committed_stays(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a);
    size_t before = secmem_bytes();
    struct live_switch *s = prepare(v, "a=newer d/b=two");

    assert_waits(v, v->a);
    assert_null(live_switch_free(s));
    assert_int_equal(secmem_bytes(), before);
    assert_opens_with(v, v->a, "one");
    assert_true(is_settled(v, v->a)); /* what is open is no older version */
    live_file_close(v->tree, open);
    assert_null(live_switch_free(NULL));
}

/* ---- files that are read through the kernel's pages */

static void file_that_is_open_through_pages_is_left_out(void **state)
{
    struct live_volume *v = *state;
    struct live_open *first, *second;
    struct live_switch *s;

    v->generation = make_generation(v->tree, v->volume, "h", "a=one b=two", false);
    v->a = find(v->tree, v->generation, "a");
    v->b = find(v->tree, v->generation, "b");
    first = open_cached(v, v->a);
    second = open_cached(v, v->a);
    assert_int_equal(live_file_make(v->tree, v->generation), 0);
    s = prepare(v, "a=newer b=newer");
    assert_true(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 1);
    assert_waits(v, v->b);
    assert_opens_with(v, v->a, "one");
    finish(v, s);
    assert_opens_with(v, v->a, "one");
    assert_opens_with(v, v->b, "newer");

    live_file_close(v->tree, first);
    s = prepare(v, "a=newer b=newer");
    assert_true(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 0);
    live_switch_free(s);
    live_file_close(v->tree, second);
    s = prepare(v, "a=newer b=newer");
    assert_false(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 1);
    finish(v, s);
    assert_opens_with(v, v->a, "newer");
}

/* The pages stay right when the bytes stay. */
static void file_that_is_open_through_pages_may_keep_its_bytes(void **state)
{
    struct live_volume *v = *state;
    size_t before = secmem_bytes(), with_it;
    struct live_open *open;
    struct live_switch *s;

    v->generation = make_generation(v->tree, v->volume, "h", "a=one", false);
    v->a = find(v->tree, v->generation, "a");
    with_it = secmem_bytes();
    open = open_cached(v, v->a);
    assert_int_equal(live_file_make(v->tree, v->generation), 0);
    s = prepare(v, "a=one");
    assert_false(live_switch_is_partial(s));
    finish(v, s);
    assert_int_equal(secmem_bytes(), with_it);
    assert_true(with_it > before);
    assert_opens_with(v, v->a, "one");
    live_file_close(v->tree, open);
}

/* ---- the commit */

static int rename_in(struct live_volume *v, uint64_t directory, const char *name,
                     const char *new_name)
{
    return tree_rename(v->tree, directory, name, directory, new_name);
}

static void rename_commits(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s = prepare(v, "a=newer");
    struct live_open *open;
    struct stat stat;

    assert_int_equal(tree_symlink(v->tree, TREE_ROOT_ID, "other", "t", &stat), 0);
    live_switch_arm(s, v->volume);
    /* renames of elsewhere, and those that fail, do not */
    assert_int_equal(rename_in(v, TREE_ROOT_ID, "other", "new"), 0);
    assert_int_equal(rename_in(v, v->volume, "absent", "new"), -ENOENT);
    assert_int_equal(rename_in(v, v->volume, "l", "g"), -EISDIR);
    assert_publisher_opens(v, v->a, "one");
    assert_int_equal(rename_in(v, v->volume, "l", "new"), 0);
    assert_publisher_opens(v, v->a, "newer");
    assert_waits(v, v->a);
    assert_int_equal(live_file_open(v->tree, v->a,
                                    &(struct live_opener){.thread = READER, .may_wait = false},
                                    &open),
                     0);
    /* once */
    assert_int_equal(rename_in(v, v->volume, "new", "l"), 0);
    live_switch_free(s);
    assert_true(is_settled(v, v->a)); /* the open file is of the newest version */
    assert_int_equal(rename_in(v, v->volume, "l", "new"), 0);
    assert_true(is_settled(v, v->a));
    assert_has(v, v->a, open, "newer");
    live_file_close(v->tree, open);
    assert_opens_with(v, v->a, "newer");
}

static void freed_switch_is_not_committed(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *armed = prepare(v, "a=newer"), *other = prepare(v, "d/b=newer");

    live_switch_arm(armed, v->volume);
    live_switch_free(other); /* it is not the one */
    assert_int_equal(rename_in(v, v->volume, "l", "new"), 0);
    live_switch_free(armed);
    assert_opens_with(v, v->a, "newer");
    armed = prepare(v, "a=newest");
    live_switch_arm(armed, v->volume);
    live_switch_free(armed);
    assert_int_equal(rename_in(v, v->volume, "new", "l"), 0);
    assert_opens_with(v, v->a, "newer");
    assert_opens_with(v, v->b, "two");
}

/* All at one moment; which bytes change differs, and so does where the payload has them. */
static void changed_and_unchanged_files_are_distinguished(void **state)
{
    static const struct {
        const char *files;
        bool changes[3]; /* a, b, c */
    } all[] = {
        {"a=one d/b=new d/e/c=three", {false, true, false}},
        {"a=1 d/b=new d/e/c=three", {true, false, false}},
        {"a=1 d/b=new d/e/c=3", {false, false, true}},
        {"a=2 d/b=new d/e/c=4", {true, false, true}},
        {"a=2 d/b=two d/e/c=4", {false, true, false}},
    };
    struct live_volume *v = *state;
    const uint64_t ids[] = {v->a, v->b, v->c};

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        struct live_open *opens[ELEMENTS_OF(ids)];
        struct live_switch *s;

        for (size_t k = 0; k < ELEMENTS_OF(ids); k++)
            opens[k] = open_file(v, ids[k]);
        s = prepare(v, all[i].files);
        assert_int_equal(n_changes(s), all[i].changes[0] + all[i].changes[1] + all[i].changes[2]);
        finish(v, s);
        for (size_t k = 0; k < ELEMENTS_OF(ids); k++) {
            assert_int_equal(is_settled(v, ids[k]), !all[i].changes[k]);
            live_file_close(v->tree, opens[k]);
            assert_true(is_settled(v, ids[k]));
        }
    }
    assert_opens_with(v, v->a, "2");
    assert_opens_with(v, v->b, "two");
    assert_opens_with(v, v->c, "4");
}

/* The same bytes of a newer object: the older goes, and readers see no change. */
static void unchanged_bytes_are_of_the_newer_object(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a);
    struct stat before, after;
    size_t bytes = secmem_bytes();
    struct live_switch *s;

    assert_int_equal(tree_stat(v->tree, v->a, &before), 0);
    s = prepare(v, "a=one d/b=two d/e/c=three");
    assert_int_equal(n_changes(s), 0);
    assert_true(secmem_bytes() > bytes);
    assert_opens_with(v, v->a, "one"); /* nothing to wait for */
    assert_int_equal(live_switch_drain_until(s), 0);
    finish(v, s);
    assert_int_equal(secmem_bytes(), bytes); /* the open file has the newer one as well */
    assert_true(is_settled(v, v->a));
    assert_int_equal(tree_stat(v->tree, v->a, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
    assert_has(v, v->a, open, "one");
    live_file_close(v->tree, open);
    assert_int_equal(secmem_bytes(), bytes);
    assert_opens_with(v, v->a, "one");
}

static void files_of_no_length(void **state)
{
    struct live_volume *v = *state;
    struct live_switch *s;

    change(v, "a=");
    assert_opens_with(v, v->a, "");
    assert_int_equal(tree_usage(v->tree).content_bytes, strlen("twothree"));
    s = prepare(v, "a=");
    assert_int_equal(n_changes(s), 0);
    finish(v, s);
    change(v, "a=again");
    assert_opens_with(v, v->a, "again");
    assert_int_equal(tree_usage(v->tree).content_bytes, strlen("againtwothree"));
}

static void node_may_be_forgotten_while_a_switch_is_prepared(void **state)
{
    struct live_volume *v = *state;
    size_t before = secmem_bytes();
    struct live_switch *s = prepare(v, "a=newer d/b=newer");
    struct stat stat;

    tree_detach(v->tree, v->a);
    assert_int_equal(tree_stat(v->tree, v->a, &stat), -ESTALE);
    assert_int_equal(live_switch_drain_until(s), 0);
    assert_true(is_settled(v, v->a));
    assert_int_equal(n_changes(s), 2);
    finish(v, s);
    assert_opens_with(v, v->b, "newer");
    assert_true(secmem_bytes() < before);

    s = prepare(v, "d/b=newest");
    live_switch_commit(s);
    tree_detach(v->tree, find(v->tree, v->generation, "d"));
    live_switch_free(s);
}

/* What has no name any more, but is held, follows. */
static void unlinked_file_follows(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=newer");
    struct live_volume *v = *state;
    const struct live_root root = {.id = v->a, .path = "a"};
    struct live_switch *s = NULL;
    struct stat stat;

    assert_int_equal(tree_lookup(v->tree, v->generation, "a", &stat), 0);
    tree_detach(v->tree, v->a);
    assert_int_equal(live_switch_new(v->tree, &root, 1, payload, &s), 0);
    assert_change(s, 0, v->a, 0, "");
    finish(v, s);
    assert_opens_with(v, v->a, "newer");
}

/* ---- waiting for open files */

static mono_us drain_until(struct live_volume *v, const struct live_switch *s)
{
    return live_switch_drain_until(s);
}

static void open_files_are_waited_for_until_they_are_read(void **state)
{
    struct live_volume *v = *state;
    mono_us before = clock_mono(), until;
    struct live_open *first = open_file(v, v->a), *second = open_as(v, v->a, OTHER);
    mono_us after = clock_mono();
    struct live_switch *s = prepare(v, "a=newer");

    until = drain_until(v, s);
    assert_between(until, before + LIVE_DRAIN_MAX, after + LIVE_DRAIN_MAX);
    assert_reads(v, v->a, first, 0, 2, "on");
    assert_reads(v, v->a, second, 0, 2, "on");
    assert_int_equal(drain_until(v, s), until);
    assert_reads(v, v->a, first, 2, 1, "e");
    assert_has(v, v->a, first, "one"); /* the end counts once */
    assert_reads(v, v->a, first, 3, 100, "");
    assert_int_equal(drain_until(v, s), until);
    live_file_close(v->tree, first); /* nor does closing it count again */
    assert_int_equal(drain_until(v, s), until);
    assert_reads(v, v->a, second, 3, 100, ""); /* any read that gets to the end */
    assert_int_equal(drain_until(v, s), 0);
    live_switch_commit(s);
    assert_int_equal(drain_until(v, s), 0);
    live_file_close(v->tree, second);
    live_switch_free(s);
}

static void closed_files_are_not_waited_for(void **state)
{
    struct live_volume *v = *state;
    struct live_open *open = open_file(v, v->a);
    struct live_switch *s = prepare(v, "a=newer");

    assert_true(drain_until(v, s) > 0);
    live_file_close(v->tree, open);
    assert_int_equal(drain_until(v, s), 0);
    live_switch_free(s);
}

/* Of an older version: its reader has had its time. */
static void older_versions_are_not_waited_for(void **state)
{
    struct live_volume *v = *state;
    struct live_open *old = open_file(v, v->a), *new;
    struct live_switch *s;

    change(v, "a=newer");
    s = prepare(v, "a=newest");
    assert_int_equal(drain_until(v, s), 0);
    live_switch_free(s);
    new = open_file(v, v->a);
    s = prepare(v, "a=newest");
    assert_has(v, v->a, old, "one"); /* of what nothing is waited for */
    assert_true(drain_until(v, s) > 0);
    live_file_close(v->tree, old);
    assert_true(drain_until(v, s) > 0);
    live_file_close(v->tree, new);
    assert_int_equal(drain_until(v, s), 0);
    live_switch_free(s);
}

/* The newest open file of those that change decides how long. */
static void newest_open_file_is_waited_for_longest(void **state)
{
    struct live_volume *v = *state;
    struct live_open *b = open_file(v, v->b), *c = open_file(v, v->c), *a;
    mono_us between = clock_mono();
    struct live_switch *s = prepare(v, "d/b=newer d/e/c=three a=one");

    assert_true(drain_until(v, s) <= between + LIVE_DRAIN_MAX);
    live_switch_free(s);
    between = clock_mono();
    a = open_file(v, v->a);
    s = prepare(v, "d/b=newer a=newer");
    assert_true(drain_until(v, s) >= between + LIVE_DRAIN_MAX);
    live_file_close(v->tree, a);
    assert_between(drain_until(v, s), 1, between + LIVE_DRAIN_MAX);
    live_file_close(v->tree, b);
    assert_int_equal(drain_until(v, s), 0); /* c does not change */
    live_file_close(v->tree, c);
    live_switch_free(s);
}

/* ---- roots */

static void paths_below_roots(void **state)
{
    static const struct {
        const char *root, *path, *below; /* NULL: elsewhere */
    } all[] = {
        {"", "a", "a"},      {"", "d/b", "d/b"}, {"d", "d/b", "b"},     {"d", "d/e/c", "e/c"},
        {"d", "d", ""},      {"d/b", "d/b", ""}, {"d/e", "d/e/c", "c"}, {"d", "a", NULL},
        {"d", "dd/b", NULL}, {"d", "dd", NULL},  {"dd", "d/b", NULL},   {"d/e", "d/ee", NULL},
        {"d/e", "d", NULL},  {"d", "D/b", NULL}, {"d/b", "d/b/x", "x"},
    };

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        const struct live_root root = {.path = all[i].root};
        const char *below = live_root_path_below(&root, all[i].path);

        if (all[i].below == NULL)
            assert_null(below);
        else
            assert_string_equal(below, all[i].below);
    }
}

static void roots_show_parts_of_a_payload(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload =
        payload_make("a=1 d/b=2 d/e/c=3 dd/b=4 x=5");
    struct live_volume *v = *state;
    uint64_t d = find(v->tree, v->generation, "d");
    uint64_t single = find(v->tree, make_generation(v->tree, v->volume, "h", "f=old", true), "f");
    const struct live_root roots[] = {
        {.id = d, .path = "d"}, {.id = single, .path = "a"}, {.id = 4711, .path = ""}};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(v->tree, roots, ELEMENTS_OF(roots), payload, &s), 0);
    assert_int_equal(n_changes(s), 3);
    assert_change(s, 0, v->b, 0, "b");
    assert_change(s, 1, v->c, 0, "e/c");
    assert_change(s, 2, single, 1, "");
    finish(v, s);
    assert_opens_with(v, v->a, "one"); /* of no root */
    assert_opens_with(v, v->b, "2");
    assert_opens_with(v, v->c, "3");
    assert_opens_with(v, single, "1");
}

/* A file that is mounted alone, and its directory is, too. */
static void file_of_two_roots_changes_once_for_its_readers(void **state)
{
    struct live_volume *v = *state;
    size_t bytes = secmem_bytes();
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("d/b=newer");
    const struct live_root roots[] = {{.id = v->b, .path = "d/b"},
                                      {.id = v->generation, .path = ""}};
    struct live_open *old = open_file(v, v->b);
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(v->tree, roots, 2, payload, &s), 0);
    assert_waits(v, v->b);
    finish(v, s);
    assert_opens_with(v, v->b, "newer");
    assert_false(is_settled(v, v->b));
    live_file_close(v->tree, old);
    assert_true(is_settled(v, v->b));
    payload = payload_unref(payload);
    change(v, "d/b=three");
    assert_int_equal(secmem_bytes(), bytes);
    assert_opens_with(v, v->b, "three");
}

/* A directory in a file's place, a link, an immutable file, and what is not there. */
static void what_is_not_live_does_not_change(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1 b=2 c/x=3 d=4 l=5");
    struct live_volume *v = *state;
    uint64_t g = make_generation(v->tree, v->volume, "h", "a=one c=file d/x=other", false);
    const struct live_root root = {.id = g, .path = ""};
    struct file_content content;
    struct live_switch *s = NULL;
    struct stat stat;

    assert_int_equal(tree_symlink(v->tree, g, "l", "t", &stat), 0);
    assert_int_equal(live_switch_new(v->tree, &root, 1, payload, &s), 0);
    assert_int_equal(n_changes(s), 0);
    assert_false(live_switch_is_partial(s));
    finish(v, s);
    assert_int_equal(tree_read(v->tree, find(v->tree, g, "a"), &content), 0);
    assert_int_equal(content.len, 3);
    assert_memory_equal(content.bytes, "one", 3);
    object_unref(content.object);
}

static void switch_of_nothing(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1");
    struct live_volume *v = *state;
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(v->tree, NULL, 0, payload, &s), 0);
    assert_int_equal(n_changes(s), 0);
    assert_int_equal(drain_until(v, s), 0);
    live_switch_arm(s, v->volume);
    assert_int_equal(rename_in(v, v->volume, "l", "new"), 0);
    live_switch_free(s);
    assert_opens_with(v, v->a, "one");
}

/* ---- memory can be short */

#define MANY 40 /* more than a switch has room for at first, twice */

/* "f0=TEXT f1=TEXT ..."; each second file has @other instead. */
static struct payload *payload_of_many(const char *text, const char *other)
{
    char all[MANY * 32] = "";

    for (unsigned i = 0; i < MANY; i++) {
        size_t used = strlen(all);

        snprintf(all + used, sizeof(all) - used, "f%u=%s ", i, i % 2 == 0 ? text : other);
    }
    return payload_make(all);
}

struct many {
    struct live_volume *volume; /* its generation has the many files */
    struct payload *next;
};

static void assert_many_have(struct live_volume *v, const char *text, const char *other)
{
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%u", i);
        assert_opens_with(v, find(v->tree, v->generation, name), i % 2 == 0 ? text : other);
    }
}

/* What cannot be prepared leaves no file that is switching. */
static int prepare_or_leave(void *userdata)
{
    struct many *many = userdata;
    struct live_volume *v = many->volume;
    const struct live_root root = {.id = v->generation, .path = ""};
    struct live_switch *s = NULL;
    int r = live_switch_new(v->tree, &root, 1, many->next, &s);

    if (r == 0) {
        assert_int_equal(n_changes(s), MANY / 2);
        live_switch_free(s);
    }
    for (unsigned i = 0; i < MANY; i++) {
        char name[16];

        snprintf(name, sizeof(name), "f%u", i);
        assert_true(is_settled(v, find(v->tree, v->generation, name)));
    }
    return r;
}

static void memory_can_be_short(void **state)
{
    _cleanup_(payload_unrefp) struct payload *first = payload_of_many("same", "before");
    struct live_volume *v = *state;
    struct many many = {.volume = v, .next = payload_of_many("same", "after")};
    struct live_root root = {.path = ""};
    struct live_switch *s = NULL;
    struct stat stat;

    assert_int_equal(tree_stage(v->tree, "many", first, true), 0);
    assert_int_equal(tree_mkdir(v->tree, gettid(), v->volume, "many", 0755, &stat), 0);
    v->generation = root.id = stat.st_ino;
    failmalloc_try(prepare_or_leave, &many);
    assert_many_have(v, "same", "before");
    assert_int_equal(live_switch_new(v->tree, &root, 1, many.next, &s), 0);
    finish(v, s);
    assert_many_have(v, "same", "after");
    payload_unref(many.next);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, live_volume_setup, live_volume_teardown)
    const struct CMUnitTest tests[] = {
        TEST(opens_wait_until_the_switch_is_freed),
        TEST(opens_go_on_while_a_switch_is_held_up),
        TEST(nothing_is_settled_until_the_switch_is_freed),
        TEST(what_is_not_committed_stays),
        TEST(file_that_is_open_through_pages_is_left_out),
        TEST(file_that_is_open_through_pages_may_keep_its_bytes),
        TEST(rename_commits),
        TEST(freed_switch_is_not_committed),
        TEST(changed_and_unchanged_files_are_distinguished),
        TEST(unchanged_bytes_are_of_the_newer_object),
        TEST(files_of_no_length),
        TEST(node_may_be_forgotten_while_a_switch_is_prepared),
        TEST(unlinked_file_follows),
        TEST(open_files_are_waited_for_until_they_are_read),
        TEST(closed_files_are_not_waited_for),
        TEST(older_versions_are_not_waited_for),
        TEST(newest_open_file_is_waited_for_longest),
        TEST(paths_below_roots),
        TEST(roots_show_parts_of_a_payload),
        TEST(file_of_two_roots_changes_once_for_its_readers),
        TEST(what_is_not_live_does_not_change),
        TEST(switch_of_nothing),
        TEST(memory_can_be_short),
    };

    return cmocka_run_group_tests_name("live switch", tests, NULL, NULL);
}
