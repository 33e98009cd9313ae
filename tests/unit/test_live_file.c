/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/live_file.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/secmem.h"
#include "tests/unit/failmalloc.h"
#include "tests/unit/make_payload.h"

/* A tree with a volume of live files, all of whose opens are closed by the tests themselves. */
struct fixture {
    struct tree *tree;
    uint64_t volume; /* "v" in the root, with a link "l" */
    uint64_t generation;
    uint64_t a, b, c; /* a, d/b, d/e/c */
};

static uint64_t find(struct tree *tree, uint64_t directory, const char *path)
{
    struct stat stat;

    assert_int_equal(tree_find_path(tree, directory, path, &stat), 0);
    return stat.st_ino;
}

/* Return: the id of the directory @name in @parent, with a reference. */
static uint64_t make_generation(struct tree *tree, uint64_t parent, const char *name,
                                const char *files, bool is_live)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    struct stat stat;

    assert_int_equal(tree_stage(tree, name, payload, is_live), 0);
    assert_int_equal(tree_mkdir(tree, parent, name, 0755, &stat), 0);
    assert_int_equal(tree_stage(tree, name, NULL, false), 0);
    return stat.st_ino;
}

static int setup(void **state)
{
    static const struct tree_options options = {.root_mode = 0755, .answers_open = true};
    static struct fixture f;
    struct stat stat;

    f = (struct fixture){0};
    assert_int_equal(tree_new(&options, &f.tree), 0);
    assert_int_equal(tree_mkdir(f.tree, TREE_ROOT_ID, "v", 0755, &stat), 0);
    f.volume = stat.st_ino;
    assert_int_equal(tree_symlink(f.tree, f.volume, "l", "t", &stat), 0);
    f.generation = make_generation(f.tree, f.volume, "g", "a=one d/b=two d/e/c=three", true);
    f.a = find(f.tree, f.generation, "a");
    f.b = find(f.tree, f.generation, "d/b");
    f.c = find(f.tree, f.generation, "d/e/c");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)tree_free(f->tree);
    return 0;
}

/* ---- what the tests do and see */

static struct live_open open_file(struct fixture *f, uint64_t id)
{
    struct live_open open;

    assert_int_equal(live_file_open(f->tree, id, &open), 0);
    return open;
}

static void assert_open_has(const struct live_open *open, const char *text)
{
    assert_true(open->is_live);
    assert_int_equal(open->content.len, strlen(text));
    assert_memory_equal(open->content.bytes, text, open->content.len);
}

/* Return: its version. */
static uint64_t assert_opens_with(struct fixture *f, uint64_t id, const char *text)
{
    struct live_open open = open_file(f, id);
    uint64_t version = open.version;

    assert_open_has(&open, text);
    live_file_close(f->tree, id, &open, false);
    assert_null(open.content.object);
    return version;
}

static void assert_waits(struct fixture *f, uint64_t id)
{
    struct live_open open;

    assert_int_equal(live_file_open(f->tree, id, &open), -EAGAIN);
}

/* The switch of the whole generation. */
static struct live_switch *prepare(struct fixture *f, const char *files)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make(files);
    const struct live_root root = {.id = f->generation, .path = ""};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, &root, 1, payload, &s), 0);
    return s;
}

static void change(struct fixture *f, const char *files)
{
    _cleanup_(live_switch_freep) struct live_switch *s = prepare(f, files);

    live_switch_commit(f->tree, s);
}

static size_t n_changes(const struct live_switch *s)
{
    size_t n;

    (void)live_switch_changes(s, &n);
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

static bool is_settled(struct fixture *f, uint64_t id)
{
    return live_file_is_settled(f->tree, id);
}

/* ---- open files */

static void open_file_keeps_its_version(void **state)
{
    struct fixture *f = *state;
    struct live_open old = open_file(f, f->a), new;
    struct stat stat;

    assert_int_equal(tree_stat(f->tree, f->a, &stat), 0);
    assert_memory_equal(&old.changed, &stat.st_mtim, sizeof(old.changed));
    change(f, "a=newer");
    new = open_file(f, f->a);
    assert_open_has(&old, "one");
    assert_open_has(&new, "newer");
    assert_true(new.version > old.version);
    assert_int_equal(tree_stat(f->tree, f->a, &stat), 0);
    assert_int_equal(stat.st_size, 5);
    assert_memory_equal(&new.changed, &stat.st_mtim, sizeof(new.changed));
    live_file_close(f->tree, f->a, &old, false);
    live_file_close(f->tree, f->a, &new, true);
}

/* The memory of a version goes when its last open file is closed. */
static void old_content_goes_with_its_last_open_file(void **state)
{
    struct fixture *f = *state;
    size_t before = secmem_bytes();
    struct live_open first = open_file(f, f->a), second = open_file(f, f->a);

    change(f, "a=newer");
    assert_true(secmem_bytes() > before);
    live_file_close(f->tree, f->a, &first, false);
    assert_true(secmem_bytes() > before);
    assert_open_has(&second, "one");
    live_file_close(f->tree, f->a, &second, false);
    assert_int_equal(secmem_bytes(), before);
    change(f, "a=newest");
    assert_int_equal(secmem_bytes(), before);
}

static void only_files_are_opened(void **state)
{
    struct fixture *f = *state;
    struct live_open open;

    assert_int_equal(live_file_open(f->tree, f->generation, &open), -EISDIR);
    assert_int_equal(live_file_open(f->tree, find(f->tree, f->volume, "l"), &open), -EINVAL);
    assert_int_equal(live_file_open(f->tree, 4711, &open), -ESTALE);
}

static void immutable_file_is_opened_without_content(void **state)
{
    struct fixture *f = *state;
    uint64_t g = make_generation(f->tree, f->volume, "h", "a=one", false);
    uint64_t id = find(f->tree, g, "a");
    struct live_open open = open_file(f, id);

    assert_false(open.is_live);
    assert_null(open.content.object);
    assert_true(is_settled(f, id));
    live_file_close(f->tree, id, &open, false);
}

/* Reading to the end, or closing, may come after the file is gone, or a newer version is there. */
static void what_is_gone_is_closed_as_well(void **state)
{
    struct fixture *f = *state;
    struct live_open open = open_file(f, f->a), older = open_file(f, f->b);
    uint64_t version = older.version;

    change(f, "d/b=newer");
    live_file_read_to_end(f->tree, f->b, version);
    live_file_close(f->tree, f->b, &older, true);
    tree_detach(f->tree, f->a);
    live_file_read_to_end(f->tree, f->a, open.version);
    assert_open_has(&open, "one");
    live_file_close(f->tree, f->a, &open, true);
    assert_true(is_settled(f, f->a));
    assert_true(is_settled(f, f->b));
}

/* ---- whether attributes may be kept */

static void settled_until_a_switch_is_prepared(void **state)
{
    struct fixture *f = *state;
    struct live_switch *s;

    assert_true(is_settled(f, f->a));
    assert_opens_with(f, f->a, "one");
    assert_true(is_settled(f, f->a));
    s = prepare(f, "a=newer d/b=two");
    assert_false(is_settled(f, f->a));
    assert_true(is_settled(f, f->b)); /* its bytes stay */
    assert_true(is_settled(f, f->c)); /* the payload does not have it */
    live_switch_commit(f->tree, s);
    assert_true(is_settled(f, f->a)); /* at once: nothing older is open */
    (void)live_switch_free(s);
    assert_true(is_settled(f, f->a));
}

static void settled_again_when_no_older_version_is_open(void **state)
{
    struct fixture *f = *state;
    struct live_open first = open_file(f, f->a), second, third;

    assert_true(is_settled(f, f->a));
    change(f, "a=newer");
    assert_false(is_settled(f, f->a));
    second = open_file(f, f->a);
    change(f, "a=newest");
    third = open_file(f, f->a);
    assert_false(is_settled(f, f->a));
    live_file_close(f->tree, f->a, &third, true);
    assert_false(is_settled(f, f->a));
    live_file_close(f->tree, f->a, &first, false);
    assert_false(is_settled(f, f->a));
    live_file_close(f->tree, f->a, &second, true);
    assert_true(is_settled(f, f->a));
}

static void what_never_changes_is_settled(void **state)
{
    struct fixture *f = *state;
    uint64_t g = make_generation(f->tree, f->volume, "h", "a=one", false);

    assert_true(is_settled(f, find(f->tree, g, "a")));
    assert_true(is_settled(f, g));
    assert_true(is_settled(f, find(f->tree, f->volume, "l")));
    assert_true(is_settled(f, 4711));
}

/* ---- opens wait for a switch */

static void opens_wait_while_a_switch_is_prepared(void **state)
{
    struct fixture *f = *state;
    uint64_t version = assert_opens_with(f, f->a, "one");
    struct live_switch *s = prepare(f, "a=newer d/b=two");

    assert_int_equal(n_changes(s), 1);
    assert_waits(f, f->a);
    assert_opens_with(f, f->b, "two");
    assert_opens_with(f, f->c, "three");
    live_switch_commit(f->tree, s);
    assert_true(assert_opens_with(f, f->a, "newer") > version);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "newer");
}

static void what_is_not_committed_stays(void **state)
{
    struct fixture *f = *state;
    struct live_open open = open_file(f, f->a);
    size_t before = secmem_bytes();
    struct live_switch *s = prepare(f, "a=newer d/b=two");

    assert_waits(f, f->a);
    assert_null(live_switch_free(s));
    assert_int_equal(secmem_bytes(), before);
    assert_int_equal(assert_opens_with(f, f->a, "one"), open.version);
    assert_true(is_settled(f, f->a));
    live_file_close(f->tree, f->a, &open, false);
    assert_null(live_switch_free(NULL));
}

/* ---- files that are read through the kernel's pages */

static void file_that_is_open_through_pages_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct live_open first, second;
    struct live_switch *s;

    f->generation = make_generation(f->tree, f->volume, "h", "a=one b=two", false);
    f->a = find(f->tree, f->generation, "a");
    f->b = find(f->tree, f->generation, "b");
    first = open_file(f, f->a);
    second = open_file(f, f->a);
    assert_int_equal(live_file_make(f->tree, f->generation), 0);
    s = prepare(f, "a=newer b=newer");
    assert_true(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 1);
    assert_waits(f, f->b);
    assert_opens_with(f, f->a, "one");
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "one");
    assert_opens_with(f, f->b, "newer");

    live_file_close(f->tree, f->a, &first, false);
    s = prepare(f, "a=newer b=newer");
    assert_true(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 0);
    (void)live_switch_free(s);
    live_file_close(f->tree, f->a, &second, false);
    s = prepare(f, "a=newer b=newer");
    assert_false(live_switch_is_partial(s));
    assert_int_equal(n_changes(s), 1);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "newer");
}

/* The pages stay right when the bytes stay. */
static void file_that_is_open_through_pages_may_keep_its_bytes(void **state)
{
    struct fixture *f = *state;
    size_t before = secmem_bytes();
    uint64_t g = make_generation(f->tree, f->volume, "h", "a=one", false);
    size_t with_it = secmem_bytes();
    struct live_open open;
    struct live_switch *s;

    f->generation = g;
    f->a = find(f->tree, g, "a");
    open = open_file(f, f->a);
    assert_int_equal(live_file_make(f->tree, g), 0);
    s = prepare(f, "a=one");
    assert_false(live_switch_is_partial(s));
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_int_equal(secmem_bytes(), with_it);
    assert_true(with_it > before);
    assert_opens_with(f, f->a, "one");
    live_file_close(f->tree, f->a, &open, false);
}

/* ---- the commit */

static int rename_in(struct fixture *f, uint64_t directory, const char *name, const char *new_name)
{
    return tree_rename(f->tree, directory, name, directory, new_name);
}

static void rename_commits(void **state)
{
    struct fixture *f = *state;
    struct live_switch *s = prepare(f, "a=newer");
    struct stat stat;
    uint64_t version;

    assert_int_equal(tree_symlink(f->tree, TREE_ROOT_ID, "other", "t", &stat), 0);
    live_switch_arm(f->tree, s, f->volume);
    /* renames of elsewhere, and those that fail, do not */
    assert_int_equal(rename_in(f, TREE_ROOT_ID, "other", "new"), 0);
    assert_int_equal(rename_in(f, f->volume, "absent", "new"), -ENOENT);
    assert_int_equal(rename_in(f, f->volume, "l", "g"), -EISDIR);
    assert_waits(f, f->a);
    assert_int_equal(rename_in(f, f->volume, "l", "new"), 0);
    version = assert_opens_with(f, f->a, "newer");
    assert_true(is_settled(f, f->a));
    /* once */
    assert_int_equal(rename_in(f, f->volume, "new", "l"), 0);
    assert_int_equal(assert_opens_with(f, f->a, "newer"), version);
    (void)live_switch_free(s);
    assert_int_equal(rename_in(f, f->volume, "l", "new"), 0);
    assert_int_equal(assert_opens_with(f, f->a, "newer"), version);
}

static void freed_switch_is_not_committed(void **state)
{
    struct fixture *f = *state;
    struct live_switch *armed = prepare(f, "a=newer"), *other = prepare(f, "d/b=newer");

    live_switch_arm(f->tree, armed, f->volume);
    (void)live_switch_free(other); /* it is not the one */
    assert_int_equal(rename_in(f, f->volume, "l", "new"), 0);
    assert_opens_with(f, f->a, "newer");
    (void)live_switch_free(armed);
    armed = prepare(f, "a=newest");
    live_switch_arm(f->tree, armed, f->volume);
    (void)live_switch_free(armed);
    assert_int_equal(rename_in(f, f->volume, "new", "l"), 0);
    assert_opens_with(f, f->a, "newer");
}

/* All at one moment: a's bytes change and b's do not, in each order that the payload has them. */
static void changed_and_unchanged_files_are_told_apart(void **state)
{
    static const char *const all[] = {"a=one d/b=new d/e/c=three", "a=1 d/b=new d/e/c=three",
                                      "a=1 d/b=new d/e/c=3", "a=2 d/b=new d/e/c=4",
                                      "a=2 d/b=two d/e/c=4"};
    static const size_t changed[] = {1, 1, 1, 2, 1};
    struct fixture *f = *state;
    uint64_t b = assert_opens_with(f, f->b, "two"), c = assert_opens_with(f, f->c, "three");

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        struct live_switch *s = prepare(f, all[i]);

        assert_int_equal(n_changes(s), changed[i]);
        live_switch_commit(f->tree, s);
        (void)live_switch_free(s);
    }
    assert_opens_with(f, f->a, "2");
    assert_int_equal(assert_opens_with(f, f->b, "two"), b + 2);
    assert_int_equal(assert_opens_with(f, f->c, "4"), c + 2);
}

/* The same bytes of a newer object: the older goes, and readers see no change. */
static void unchanged_bytes_are_of_the_newer_object(void **state)
{
    struct fixture *f = *state;
    struct live_open open = open_file(f, f->a);
    struct stat before, after;
    size_t bytes = secmem_bytes();
    struct live_switch *s;

    assert_int_equal(tree_stat(f->tree, f->a, &before), 0);
    s = prepare(f, "a=one d/b=two d/e/c=three");
    assert_int_equal(n_changes(s), 0);
    assert_true(secmem_bytes() > bytes);
    assert_opens_with(f, f->a, "one"); /* nothing to wait for */
    assert_int_equal(live_switch_drain_until(f->tree, s), 0);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_true(secmem_bytes() > bytes); /* the open file's */
    assert_int_equal(assert_opens_with(f, f->a, "one"), open.version);
    assert_true(is_settled(f, f->a));
    assert_int_equal(tree_stat(f->tree, f->a, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
    assert_open_has(&open, "one");
    live_file_close(f->tree, f->a, &open, false);
    assert_int_equal(secmem_bytes(), bytes);
}

static void files_of_no_length(void **state)
{
    struct fixture *f = *state;

    change(f, "a=");
    assert_opens_with(f, f->a, "");
    assert_int_equal(tree_usage(f->tree).content_bytes, strlen("twothree"));
    {
        _cleanup_(live_switch_freep) struct live_switch *s = prepare(f, "a=");

        assert_int_equal(n_changes(s), 0);
        live_switch_commit(f->tree, s);
    }
    change(f, "a=again");
    assert_opens_with(f, f->a, "again");
    assert_int_equal(tree_usage(f->tree).content_bytes, strlen("againtwothree"));
}

static void node_may_be_forgotten_while_a_switch_is_prepared(void **state)
{
    struct fixture *f = *state;
    size_t before = secmem_bytes();
    struct live_switch *s = prepare(f, "a=newer d/b=newer");
    struct stat stat;

    tree_detach(f->tree, f->a);
    assert_int_equal(tree_stat(f->tree, f->a, &stat), -ESTALE);
    assert_int_equal(live_switch_drain_until(f->tree, s), 0);
    assert_true(is_settled(f, f->a));
    live_switch_commit(f->tree, s);
    assert_int_equal(n_changes(s), 2);
    (void)live_switch_free(s);
    assert_opens_with(f, f->b, "newer");
    assert_true(secmem_bytes() < before);

    s = prepare(f, "d/b=newest");
    tree_detach(f->tree, find(f->tree, f->generation, "d"));
    (void)live_switch_free(s);
}

/* What has no name any more, but is held, follows. */
static void unlinked_file_follows(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=newer");
    struct fixture *f = *state;
    const struct live_root root = {.id = f->a, .path = "a"};
    struct live_switch *s = NULL;
    struct stat stat;

    assert_int_equal(tree_lookup(f->tree, f->generation, "a", &stat), 0);
    tree_detach(f->tree, f->a);
    assert_int_equal(live_switch_new(f->tree, &root, 1, payload, &s), 0);
    assert_change(s, 0, f->a, 0, "");
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "newer");
}

/* ---- waiting for open files */

static mono_us drain_until(struct fixture *f, const struct live_switch *s)
{
    return live_switch_drain_until(f->tree, s);
}

static void open_files_are_waited_for_until_they_are_read(void **state)
{
    struct fixture *f = *state;
    mono_us before = clock_mono(), until;
    struct live_open first = open_file(f, f->a), second = open_file(f, f->a);
    mono_us after = clock_mono();
    struct live_switch *s = prepare(f, "a=newer");

    until = drain_until(f, s);
    assert_in_range(until, before + LIVE_DRAIN_MAX, after + LIVE_DRAIN_MAX);
    live_file_read_to_end(f->tree, f->a, first.version);
    assert_int_equal(drain_until(f, s), until);
    live_file_close(f->tree, f->a, &first, true); /* does not count twice */
    assert_int_equal(drain_until(f, s), until);
    live_file_read_to_end(f->tree, f->a, second.version);
    assert_int_equal(drain_until(f, s), 0);
    live_switch_commit(f->tree, s);
    assert_int_equal(drain_until(f, s), 0);
    live_file_close(f->tree, f->a, &second, true);
    (void)live_switch_free(s);
}

static void closed_files_are_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct live_open open = open_file(f, f->a);
    struct live_switch *s = prepare(f, "a=newer");

    assert_true(drain_until(f, s) > 0);
    live_file_close(f->tree, f->a, &open, false);
    assert_int_equal(drain_until(f, s), 0);
    (void)live_switch_free(s);
}

/* Of an older version: its reader has had its time. */
static void older_versions_are_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct live_open old = open_file(f, f->a), new;
    struct live_switch *s;

    change(f, "a=newer");
    s = prepare(f, "a=newest");
    assert_int_equal(drain_until(f, s), 0);
    (void)live_switch_free(s);
    new = open_file(f, f->a);
    s = prepare(f, "a=newest");
    live_file_read_to_end(f->tree, f->a, old.version); /* of what nothing is waited for */
    assert_true(drain_until(f, s) > 0);
    live_file_close(f->tree, f->a, &old, true);
    assert_true(drain_until(f, s) > 0);
    live_file_close(f->tree, f->a, &new, false);
    assert_int_equal(drain_until(f, s), 0);
    (void)live_switch_free(s);
}

/* The newest open file of those that change tells how long. */
static void newest_open_file_is_waited_for_longest(void **state)
{
    struct fixture *f = *state;
    struct live_open b = open_file(f, f->b), c = open_file(f, f->c), a;
    mono_us between = clock_mono();
    struct live_switch *s = prepare(f, "d/b=newer d/e/c=three a=one");

    assert_true(drain_until(f, s) <= between + LIVE_DRAIN_MAX);
    (void)live_switch_free(s);
    between = clock_mono();
    a = open_file(f, f->a);
    s = prepare(f, "d/b=newer a=newer");
    assert_true(drain_until(f, s) >= between + LIVE_DRAIN_MAX);
    live_file_close(f->tree, f->a, &a, false);
    assert_true(drain_until(f, s) <= between + LIVE_DRAIN_MAX);
    live_file_close(f->tree, f->b, &b, false);
    assert_int_equal(drain_until(f, s), 0); /* c does not change */
    live_file_close(f->tree, f->c, &c, false);
    (void)live_switch_free(s);
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

    (void)state;
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
    struct fixture *f = *state;
    uint64_t d = find(f->tree, f->generation, "d");
    uint64_t single = find(f->tree, make_generation(f->tree, f->volume, "h", "f=old", true), "f");
    const struct live_root roots[] = {
        {.id = d, .path = "d"}, {.id = single, .path = "a"}, {.id = 4711, .path = ""}};
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, roots, ELEMENTS_OF(roots), payload, &s), 0);
    assert_int_equal(n_changes(s), 3);
    assert_change(s, 0, f->b, 0, "b");
    assert_change(s, 1, f->c, 0, "e/c");
    assert_change(s, 2, single, 1, "");
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "one"); /* of no root */
    assert_opens_with(f, f->b, "2");
    assert_opens_with(f, f->c, "3");
    assert_opens_with(f, single, "1");
}

/* A file that is mounted alone, and its directory is, too. */
static void file_of_two_roots_changes_once_for_its_readers(void **state)
{
    struct fixture *f = *state;
    size_t bytes = secmem_bytes();
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("d/b=newer");
    const struct live_root roots[] = {{.id = f->b, .path = "d/b"},
                                      {.id = f->generation, .path = ""}};
    struct live_open old = open_file(f, f->b);
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, roots, 2, payload, &s), 0);
    assert_waits(f, f->b);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_opens_with(f, f->b, "newer");
    assert_false(is_settled(f, f->b));
    live_file_close(f->tree, f->b, &old, false);
    assert_true(is_settled(f, f->b));
    payload = payload_unref(payload);
    change(f, "d/b=three");
    assert_int_equal(secmem_bytes(), bytes);
    assert_opens_with(f, f->b, "three");
}

/* A directory in a file's place, a link, an immutable file, and what is not there. */
static void what_is_not_live_does_not_change(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1 b=2 c/x=3 d=4 l=5");
    struct fixture *f = *state;
    uint64_t g = make_generation(f->tree, f->volume, "h", "a=one c=file d/x=other", false);
    const struct live_root root = {.id = g, .path = ""};
    struct tree_content content;
    struct live_switch *s = NULL;
    struct stat stat;

    assert_int_equal(tree_symlink(f->tree, g, "l", "t", &stat), 0);
    assert_int_equal(live_switch_new(f->tree, &root, 1, payload, &s), 0);
    assert_int_equal(n_changes(s), 0);
    assert_false(live_switch_is_partial(s));
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_int_equal(tree_read(f->tree, find(f->tree, g, "a"), &content), 0);
    assert_memory_equal(content.bytes, "one", 3);
    (void)object_unref(content.object);
}

static void switch_of_nothing(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1");
    struct fixture *f = *state;
    struct live_switch *s = NULL;

    assert_int_equal(live_switch_new(f->tree, NULL, 0, payload, &s), 0);
    assert_int_equal(n_changes(s), 0);
    assert_int_equal(drain_until(f, s), 0);
    live_switch_arm(f->tree, s, f->volume);
    assert_int_equal(rename_in(f, f->volume, "l", "new"), 0);
    (void)live_switch_free(s);
    assert_opens_with(f, f->a, "one");
}

/* ---- becoming live */

static void files_of_a_directory_are_made_live(void **state)
{
    struct fixture *f = *state;
    uint64_t g = make_generation(f->tree, f->volume, "h", "a=1 d/b=2 d/e/c=3", false);
    uint64_t d = find(f->tree, g, "d");
    struct stat empty;

    assert_false(live_file_is_live(f->tree, g));
    assert_false(live_file_is_live(f->tree, d));
    assert_int_equal(live_file_make(f->tree, d), 0);
    assert_true(live_file_is_live(f->tree, d));
    assert_true(live_file_is_live(f->tree, find(f->tree, d, "b")));
    assert_true(live_file_is_live(f->tree, find(f->tree, d, "e")));
    assert_true(live_file_is_live(f->tree, find(f->tree, d, "e/c")));
    assert_false(live_file_is_live(f->tree, find(f->tree, g, "a")));
    assert_false(live_file_is_live(f->tree, g)); /* its first file is not */
    assert_int_equal(live_file_make(f->tree, find(f->tree, g, "a")), 0);
    assert_true(live_file_is_live(f->tree, g));
    assert_opens_with(f, find(f->tree, g, "d/e/c"), "3");

    assert_int_equal(tree_mkdir(f->tree, f->volume, "empty", 0755, &empty), 0);
    assert_int_equal(live_file_make(f->tree, empty.st_ino), 0);
    assert_false(live_file_is_live(f->tree, empty.st_ino));
    assert_int_equal(live_file_make(f->tree, find(f->tree, f->volume, "l")), 0);
    assert_false(live_file_is_live(f->tree, find(f->tree, f->volume, "l")));
    assert_int_equal(live_file_make(f->tree, 4711), -ESTALE);
    assert_false(live_file_is_live(f->tree, 4711));
}

/* What is known of its open files stays. */
static void live_file_is_made_live_once(void **state)
{
    struct fixture *f = *state;
    struct live_open old = open_file(f, f->a);
    uint64_t version;

    change(f, "a=newer");
    version = assert_opens_with(f, f->a, "newer");
    assert_int_equal(live_file_make(f->tree, f->generation), 0);
    assert_false(is_settled(f, f->a));
    assert_int_equal(assert_opens_with(f, f->a, "newer"), version);
    live_file_close(f->tree, f->a, &old, false);
    assert_true(is_settled(f, f->a));
}

/* ---- memory can be short */

#define MANY 40 /* more than a switch has room for at first, twice */

/* "f0=TEXT f1=TEXT ..."; each second file has @other instead. */
static struct payload *payload_of_many(const char *text, const char *other)
{
    char all[MANY * 32] = "";

    for (unsigned i = 0; i < MANY; i++) {
        size_t used = strlen(all);

        (void)snprintf(all + used, sizeof(all) - used, "f%u=%s ", i, i % 2 == 0 ? text : other);
    }
    return payload_make(all);
}

static void assert_many_have(struct tree *tree, uint64_t generation, const char *text,
                             const char *other)
{
    struct fixture f = {.tree = tree};

    for (unsigned i = 0; i < MANY; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "f%u", i);
        assert_opens_with(&f, find(tree, generation, name), i % 2 == 0 ? text : other);
    }
}

struct many {
    struct tree *tree;
    uint64_t generation;
    struct payload *next;
    const char *before; /* what each second file has */
};

/* What cannot be prepared leaves no file that is switching. */
static int prepare_or_leave(void *userdata)
{
    struct many *many = userdata;
    const struct live_root root = {.id = many->generation, .path = ""};
    struct live_switch *s = NULL;
    int r = live_switch_new(many->tree, &root, 1, many->next, &s);

    if (r == 0) {
        assert_int_equal(n_changes(s), MANY / 2);
        (void)live_switch_free(s);
    }
    assert_many_have(many->tree, many->generation, "same", "before");
    return r;
}

static void memory_can_be_short_for_a_switch(void **state)
{
    struct fixture *f = *state;
    struct many many = {.tree = f->tree, .next = payload_of_many("same", "after")};
    _cleanup_(payload_unrefp) struct payload *first = payload_of_many("same", "before");
    struct stat stat;
    struct live_switch *s = NULL;
    struct live_root root = {.path = ""};

    assert_int_equal(tree_stage(f->tree, "many", first, true), 0);
    assert_int_equal(tree_mkdir(f->tree, f->volume, "many", 0755, &stat), 0);
    many.generation = root.id = stat.st_ino;
    failmalloc_try(prepare_or_leave, &many);
    assert_int_equal(live_switch_new(f->tree, &root, 1, many.next, &s), 0);
    live_switch_commit(f->tree, s);
    (void)live_switch_free(s);
    assert_many_have(f->tree, many.generation, "same", "after");
    (void)payload_unref(many.next);
}

/* Some of them may be live then; the next time all are. */
static int make_live(void *userdata)
{
    static const struct tree_options options = {.root_mode = 0755};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct payload *payload = userdata;
    struct stat stat;
    int r = tree_new(&options, &tree);

    if (r == 0)
        r = tree_stage(tree, "g", payload, false);
    if (r == 0)
        r = tree_mkdir(tree, TREE_ROOT_ID, "g", 0755, &stat);
    if (r == 0)
        r = live_file_make(tree, stat.st_ino);
    if (r == 0)
        assert_true(live_file_is_live(tree, stat.st_ino));
    return r;
}

static void memory_can_be_short_for_live_files(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = payload_make("a=1 d/b=2");

    (void)state;
    failmalloc_try(make_live, payload);
}

/* ---- readers in other threads */

struct reader {
    struct tree *tree;
    uint64_t id;
    uint64_t first; /* each second version from this one on is "first" */
    atomic_bool is_over;
    unsigned n_torn;
};

static bool is_whole(const struct reader *reader, const struct live_open *open)
{
    const char *text = (open->version - reader->first) % 2 == 0 ? "first" : "other-one";

    return open->content.len == strlen(text) &&
           memcmp(open->content.bytes, text, open->content.len) == 0;
}

static void *read_over_and_over(void *userdata)
{
    struct reader *reader = userdata;

    while (!atomic_load(&reader->is_over)) {
        struct live_open open;
        int r = live_file_open(reader->tree, reader->id, &open);

        if (r == -EAGAIN)
            continue;
        reader->n_torn += r != 0 || !is_whole(reader, &open);
        live_file_read_to_end(reader->tree, reader->id, open.version);
        live_file_close(reader->tree, reader->id, &open, true);
    }
    return NULL;
}

static void readers_see_whole_versions(void **state)
{
    struct fixture *f = *state;
    struct reader readers[2];
    pthread_t threads[ELEMENTS_OF(readers)];
    uint64_t first;
    size_t i;

    change(f, "a=first");
    first = assert_opens_with(f, f->a, "first");
    for (i = 0; i < ELEMENTS_OF(readers); i++) {
        readers[i] = (struct reader){.tree = f->tree, .id = f->a, .first = first};
        assert_int_equal(pthread_create(&threads[i], NULL, read_over_and_over, &readers[i]), 0);
    }
    for (unsigned n = 0; n < 200; n++) {
        change(f, "a=other-one");
        change(f, "a=first");
    }
    for (i = 0; i < ELEMENTS_OF(readers); i++) {
        atomic_store(&readers[i].is_over, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].n_torn, 0);
    }
    assert_true(is_settled(f, f->a));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(open_file_keeps_its_version),
        TEST(old_content_goes_with_its_last_open_file),
        TEST(only_files_are_opened),
        TEST(immutable_file_is_opened_without_content),
        TEST(what_is_gone_is_closed_as_well),
        TEST(settled_until_a_switch_is_prepared),
        TEST(settled_again_when_no_older_version_is_open),
        TEST(what_never_changes_is_settled),
        TEST(opens_wait_while_a_switch_is_prepared),
        TEST(what_is_not_committed_stays),
        TEST(file_that_is_open_through_pages_is_left_out),
        TEST(file_that_is_open_through_pages_may_keep_its_bytes),
        TEST(rename_commits),
        TEST(freed_switch_is_not_committed),
        TEST(changed_and_unchanged_files_are_told_apart),
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
        TEST(files_of_a_directory_are_made_live),
        TEST(live_file_is_made_live_once),
        TEST(memory_can_be_short_for_a_switch),
        TEST(memory_can_be_short_for_live_files),
        TEST(readers_see_whole_versions),
    };

    return cmocka_run_group_tests_name("live file", tests, NULL, NULL);
}
