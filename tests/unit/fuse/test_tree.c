/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/tree.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/secmem.h"
#include "fuse/live_file.h"
#include "fuse/node.h"
#include "tests/unit/failmalloc.h"

static const struct tree_options options = {.uid = 7, .gid = 8, .root_mode = 01777};

static int setup(void **state)
{
    struct tree *tree = NULL;

    assert_int_equal(tree_new(&options, &tree), 0);
    *state = tree;
    return 0;
}

/* Where files may be live. */
static int setup_answering_open(void **state)
{
    const struct tree_options answering = {
        .uid = 7, .gid = 8, .root_mode = 01777, .answers_open = true};
    struct tree *tree = NULL;

    assert_int_equal(tree_new(&answering, &tree), 0);
    *state = tree;
    return 0;
}

static int teardown(void **state)
{
    tree_free(*state);
    return 0;
}

/* A payload with one file for each path, that holds the path itself. */
static struct payload *make_payload(const char *const *paths, size_t n)
{
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = 9, .gid = PAYLOAD_ID_INHERITED};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    struct payload *payload = NULL;

    assert_int_equal(payload_builder_new(&builder), 0);
    for (size_t i = 0; i < n; i++) {
        const struct object_input input = {.key = "k", .text = paths[i], .len = strlen(paths[i])};
        _cleanup_(object_unrefp) struct object *object = NULL;

        assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
        assert_int_equal(
            payload_builder_add(builder, paths[i], object, &object->entries[0], &attributes, NULL),
            0);
    }
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}

/* Make the directory @name in @parent, filled with files. Return: its id, with one reference. */
static uint64_t make_filled(struct tree *tree, uint64_t parent, const char *name,
                            struct payload *payload, bool is_live)
{
    struct stat stat;

    assert_int_equal(tree_stage(tree, name, payload, is_live), 0);
    assert_int_equal(tree_mkdir(tree, gettid(), parent, name, 0700, &stat), 0);
    assert_int_equal(tree_stage(tree, name, NULL, false), 0);
    return stat.st_ino;
}

/* As above, in the root, with immutable files. */
static uint64_t make_generation(struct tree *tree, const char *name, const char *const *paths,
                                size_t n)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, n);

    return make_filled(tree, TREE_ROOT_ID, name, payload, false);
}

/* Return: the id of an empty directory in the root. */
static uint64_t make_directory(struct tree *tree, const char *name)
{
    struct stat stat;

    assert_int_equal(tree_mkdir(tree, gettid(), TREE_ROOT_ID, name, 0755, &stat), 0);
    return stat.st_ino;
}

/* Return: what tree_mknod() returns with @staged. */
static int make_node(struct tree *tree, uint64_t parent, const char *name,
                     struct staged_node staged, struct stat *ret_stat)
{
    int r;

    tree_stage_node(tree, &staged);
    r = tree_mknod(tree, gettid(), parent, name, ret_stat);
    tree_stage_node(tree, NULL);
    return r;
}

/* Return: what tree_mkdir() returns with @staged. */
static int make_directory_node(struct tree *tree, uint64_t parent, const char *name,
                               struct staged_node staged, struct stat *ret_stat)
{
    int r;

    tree_stage_node(tree, &staged);
    r = tree_mkdir(tree, gettid(), parent, name, 0700, ret_stat);
    tree_stage_node(tree, NULL);
    return r;
}

/* Return: the id of a node at a path, without a reference. */
static uint64_t find(struct tree *tree, uint64_t parent, const char *path)
{
    struct stat stat;

    assert_int_equal(tree_find_path(tree, parent, path, &stat), 0);
    return stat.st_ino;
}

static nlink_t n_links(struct tree *tree, uint64_t id)
{
    struct stat stat;

    assert_int_equal(tree_stat(tree, id, &stat), 0);
    return stat.st_nlink;
}

static bool is_there(struct tree *tree, uint64_t id)
{
    struct stat stat;
    int r = tree_stat(tree, id, &stat);

    assert_true(r == 0 || r == -ESTALE);
    return r == 0;
}

static uint64_t lookup(struct tree *tree, uint64_t parent, const char *name)
{
    struct stat stat;

    assert_int_equal(tree_lookup(tree, parent, name, &stat), 0);
    return stat.st_ino;
}

static void assert_content(struct tree *tree, uint64_t id, const char *text)
{
    struct file_content content;

    assert_int_equal(tree_read(tree, id, &content), 0);
    assert_int_equal(content.len, strlen(text));
    assert_memory_equal(content.bytes, text, content.len);
    object_unref(content.object);
}

struct listing {
    char text[512]; /* names in order, each followed by a blank */
    uint64_t last_cookie;
    size_t n_max;
    size_t n;
};

static bool add_name(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    struct listing *l = userdata;
    size_t used = strlen(l->text);

    assert_true(stat->st_ino != 0);
    if (l->n == l->n_max)
        return false;
    l->n++;
    l->last_cookie = cookie;
    snprintf(l->text + used, sizeof(l->text) - used, "%s ", name);
    return true;
}

static struct listing list(struct tree *tree, uint64_t id, uint64_t cookie, size_t n_max)
{
    struct listing l = {.n_max = n_max, .last_cookie = cookie};

    assert_int_equal(tree_readdir(tree, id, cookie, false, add_name, &l), 0);
    return l;
}

static void root_is_an_empty_directory(void **state)
{
    struct stat stat;

    assert_int_equal(tree_stat(*state, TREE_ROOT_ID, &stat), 0);
    assert_int_equal(stat.st_mode, S_IFDIR | 01777); /* F5 */
    assert_int_equal(stat.st_uid, 7);
    assert_int_equal(stat.st_gid, 8);
    assert_int_equal(stat.st_nlink, 2);
    assert_string_equal(list(*state, TREE_ROOT_ID, 0, 9).text, ". .. ");
    assert_int_equal(tree_lookup(*state, TREE_ROOT_ID, "absent", &stat), -ENOENT);
    assert_int_equal(tree_stat(*state, 4711, &stat), -ESTALE);
}

/* F1 and F2: modes of files as asked, of directories 0755. */
static void staged_directory_is_born_filled(void **state)
{
    static const char *const paths[] = {"a", "d/e/f", "d/g"};
    uint64_t generation = make_generation(*state, "..ts", paths, ELEMENTS_OF(paths));
    uint64_t d = lookup(*state, generation, "d");
    struct stat stat;

    assert_content(*state, lookup(*state, generation, "a"), "a");
    assert_content(*state, lookup(*state, lookup(*state, d, "e"), "f"), "d/e/f");
    assert_content(*state, lookup(*state, d, "g"), "d/g");
    assert_int_equal(tree_stat(*state, d, &stat), 0);
    assert_int_equal(stat.st_mode, S_IFDIR | 0755);
    assert_int_equal(stat.st_nlink, 3);
    assert_int_equal(tree_lookup(*state, generation, "a", &stat), 0);
    assert_int_equal(stat.st_mode, S_IFREG | 0640);
    assert_int_equal(stat.st_size, 1);
    assert_int_equal(stat.st_uid, 9);
    assert_int_equal(stat.st_gid, 8);
    assert_int_equal(tree_chmod(*state, generation, 0755), 0);
    assert_int_equal(tree_stat(*state, generation, &stat), 0);
    assert_int_equal(stat.st_mode, S_IFDIR | 0755);
}

/* F10, F15: what is made in a setgid directory has its group, and directories are so as well. */
static void group_and_setgid_are_inherited(void **state)
{
    static const char *const path = "d/f";
    uint64_t generation;
    struct stat stat;

    assert_int_equal(tree_chown(*state, TREE_ROOT_ID, (uid_t)-1, 55), 0);
    assert_int_equal(tree_chmod(*state, TREE_ROOT_ID, 03777), 0);
    generation = make_generation(*state, "..ts", &path, 1);
    assert_int_equal(tree_stat(*state, generation, &stat), 0);
    assert_int_equal(stat.st_mode, S_IFDIR | 02700);
    assert_int_equal(tree_lookup(*state, generation, "d", &stat), 0);
    assert_int_equal(stat.st_mode, S_IFDIR | 02755);
    assert_int_equal(stat.st_gid, 55);
    assert_int_equal(tree_lookup(*state, stat.st_ino, "f", &stat), 0);
    assert_int_equal(stat.st_mode, S_IFREG | 0640);
    assert_int_equal(stat.st_gid, 55);
    assert_int_equal(stat.st_uid, 9);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "l", "t", &stat), 0);
    assert_int_equal(stat.st_mode, S_IFLNK | 0777);
    assert_int_equal(stat.st_gid, 55);
    assert_int_equal(stat.st_uid, 7);
    assert_int_equal(tree_chown(*state, 4711, 1, 1), -ESTALE);
}

static void only_the_staged_name_is_filled(void **state)
{
    static const char *const path = "a";
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(&path, 1);
    struct stat stat;

    assert_int_equal(tree_stage(*state, "..ts", payload, false), 0);
    assert_int_equal(tree_mkdir(*state, gettid(), TREE_ROOT_ID, "other", 0700, &stat), 0);
    assert_int_equal(tree_lookup(*state, stat.st_ino, "a", &stat), -ENOENT);
    assert_int_equal(tree_mkdir(*state, gettid(), TREE_ROOT_ID, "other", 0700, &stat), -EEXIST);
}

/* What the kernel still holds stays readable after it was unlinked, and no longer. */
static void unlinked_file_lives_until_it_is_forgotten(void **state)
{
    static const char *const path = "a";
    uint64_t generation = make_generation(*state, "..ts", &path, 1);
    uint64_t file = lookup(*state, generation, "a");
    struct stat stat;

    assert_int_equal(lookup(*state, generation, "a"), file);
    assert_int_equal(tree_unlink(*state, generation, "a"), 0);
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "..ts"), 0);
    assert_content(*state, file, "a");
    assert_int_equal(tree_stat(*state, file, &stat), 0);
    assert_int_equal(stat.st_nlink, 0);
    tree_forget(*state, file, 1);
    assert_content(*state, file, "a");
    assert_int_equal(tree_usage(*state).content_bytes, 1);
    tree_forget(*state, file, 1);
    assert_int_equal(tree_stat(*state, file, &stat), -ESTALE);
    assert_int_equal(tree_usage(*state).content_bytes, 0);
    tree_forget(*state, generation, 1);
    assert_int_equal(tree_usage(*state).n_nodes, 1);
}

/* More than was given out is not taken back, and the root never goes. */
static void forgetting_too_much_does_no_harm(void **state)
{
    struct stat stat;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "l", "t", &stat), 0);
    tree_forget(*state, stat.st_ino, 1000);
    tree_forget(*state, TREE_ROOT_ID, 1000);
    tree_forget(*state, 4711, 1);
    assert_int_equal(lookup(*state, TREE_ROOT_ID, "l"), stat.st_ino);
}

static void rename_takes_the_place_of_a_link(void **state)
{
    struct stat first, second;
    char *target = NULL;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "..data", "one", &first), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "key", "..data/key", &second), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "..data_tmp", "two", &second), 0);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "..data_tmp", TREE_ROOT_ID, "..data"), 0);
    assert_int_equal(lookup(*state, TREE_ROOT_ID, "..data"), second.st_ino);
    assert_int_equal(tree_readlink(*state, second.st_ino, &target), 0);
    assert_string_equal(target, "two");
    free(target);
    assert_int_equal(tree_lookup(*state, TREE_ROOT_ID, "..data_tmp", &first), -ENOENT);
    assert_string_equal(list(*state, TREE_ROOT_ID, 0, 9).text, ". .. ..data key ");
}

static void rename_without_a_link_to_replace(void **state)
{
    struct stat stat;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "old", "t", &stat), 0);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "old", TREE_ROOT_ID, "new"), 0);
    assert_int_equal(lookup(*state, TREE_ROOT_ID, "new"), stat.st_ino);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "old", TREE_ROOT_ID, "new"), -ENOENT);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "new", TREE_ROOT_ID, "new"), 0);
}

static void wrong_kinds_are_refused(void **state)
{
    static const char *const path = "a";
    uint64_t generation = make_generation(*state, "..ts", &path, 1);
    uint64_t file = lookup(*state, generation, "a");
    struct file_content content;
    struct stat stat;
    char *target;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "l", "t", &stat), 0);
    assert_int_equal(tree_read(*state, stat.st_ino, &content), -EINVAL);
    assert_int_equal(tree_read(*state, generation, &content), -EISDIR);
    assert_int_equal(tree_readlink(*state, file, &target), -EINVAL);
    assert_int_equal(tree_lookup(*state, file, "x", &stat), -ENOTDIR);
    assert_int_equal(tree_readdir(*state, file, 0, false, add_name, NULL), -ENOTDIR);
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "..ts"), -ENOTEMPTY);
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "l"), -ENOTDIR);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "..ts"), -EISDIR);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "..ts", TREE_ROOT_ID, "l"), -EISDIR);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "l", TREE_ROOT_ID, "..ts"), -EISDIR);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "l", generation, "l"), -EXDEV);
}

/* A reader that goes on where it stopped gets each entry that stays exactly once. */
static void listing_goes_on_while_the_directory_changes(void **state)
{
    struct listing first, rest;
    struct stat stat;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "..data", "1", &stat), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "gone", "1", &stat), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "stays", "1", &stat), 0);
    first = list(*state, TREE_ROOT_ID, 0, 3);
    assert_string_equal(first.text, ". .. ..data ");
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "..data_tmp", "2", &stat), 0);
    assert_int_equal(tree_rename(*state, TREE_ROOT_ID, "..data_tmp", TREE_ROOT_ID, "..data"), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "new", "1", &stat), 0);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "gone"), 0);
    rest = list(*state, TREE_ROOT_ID, first.last_cookie, 9);
    assert_string_equal(rest.text, "stays new ");
    assert_string_equal(list(*state, TREE_ROOT_ID, rest.last_cookie, 9).text, "");
}

/* READDIRPLUS: each child shown counts as looked up, the two dots do not. */
static void listing_can_count_references(void **state)
{
    struct listing l = {.n_max = 3};
    struct stat listed, passed_over;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "listed", "1", &listed), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "passed_over", "1", &passed_over), 0);
    assert_int_equal(tree_readdir(*state, TREE_ROOT_ID, 0, true, add_name, &l), 0);
    tree_forget(*state, listed.st_ino, 1);
    tree_forget(*state, passed_over.st_ino, 1);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "listed"), 0);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "passed_over"), 0);
    assert_int_equal(tree_stat(*state, listed.st_ino, &listed), 0);
    assert_int_equal(tree_stat(*state, passed_over.st_ino, &passed_over), -ESTALE);
}

static void ids_are_never_used_again(void **state)
{
    uint64_t last = TREE_ROOT_ID;

    for (int i = 0; i < 100; i++) {
        struct stat stat;

        assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "l", "t", &stat), 0);
        assert_true(stat.st_ino > last);
        last = stat.st_ino;
        assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "l"), 0);
        tree_forget(*state, last, 1);
    }
    assert_int_equal(tree_usage(*state).n_nodes, 1);
}

/* ---- directories that are unlinked with what is in them */

static void detached_directory_lives_as_a_whole(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t d = lookup(*state, generation, "d"), b = lookup(*state, d, "b");
    struct stat stat;

    tree_detach(*state, d);
    assert_int_equal(tree_find(*state, generation, "d", &stat), -ENOENT);
    assert_int_equal(n_links(*state, generation), 2);
    assert_int_equal(tree_unlink(*state, generation, "a"), 0);
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "g"), 0);
    tree_forget(*state, generation, 1);
    assert_false(is_there(*state, generation));
    assert_int_equal(n_links(*state, d), 0);
    assert_content(*state, find(*state, d, "e/c"), "d/e/c");
    assert_int_equal(lookup(*state, d, "b"), b);
    assert_string_equal(list(*state, d, 0, 9).text, ". .. b e ");

    /* it goes with the last that the kernel holds of it */
    tree_forget(*state, b, 1);
    tree_forget(*state, d, 1);
    assert_content(*state, b, "d/b");
    assert_content(*state, find(*state, d, "e/c"), "d/e/c");
    tree_forget(*state, b, 1);
    assert_false(is_there(*state, b));
    assert_false(is_there(*state, d));
    assert_int_equal(tree_usage(*state).n_nodes, 1);
    assert_int_equal(tree_usage(*state).content_bytes, 0);
}

/* It does not matter which of its nodes is the last that is forgotten. */
static void detached_directory_is_held_by_each_of_its_nodes(void **state)
{
    static const char *const paths[] = {"d/b", "d/e/c"}, *const below[] = {"", "b", "e", "e/c"};

    for (size_t last = 0; last < ELEMENTS_OF(below); last++) {
        uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
        uint64_t d = lookup(*state, generation, "d"), e = lookup(*state, d, "e");
        const uint64_t ids[] = {d, lookup(*state, d, "b"), e, lookup(*state, e, "c")};

        tree_detach(*state, d);
        for (size_t i = 0; i < ELEMENTS_OF(ids); i++)
            if (i != last)
                tree_forget(*state, ids[i], 1);
        assert_int_equal(find(*state, d, below[last]), ids[last]);
        assert_content(*state, ids[3], "d/e/c");
        tree_forget(*state, ids[last], 1);
        assert_false(is_there(*state, d));
        assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "g"), 0);
        tree_forget(*state, generation, 1);
        assert_int_equal(tree_usage(*state).n_nodes, 1);
    }
}

static void what_is_not_held_goes_when_it_is_detached(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));

    assert_int_equal(tree_usage(*state).n_nodes, 7);
    tree_detach(*state, find(*state, generation, "d"));
    assert_int_equal(tree_usage(*state).n_nodes, 3);
    assert_string_equal(list(*state, generation, 0, 9).text, ". .. a ");
    tree_detach(*state, find(*state, generation, "a"));
    assert_int_equal(tree_usage(*state).n_nodes, 2);
    assert_int_equal(tree_usage(*state).content_bytes, 0);
}

static void detaching_nothing_does_no_harm(void **state)
{
    static const char *const path = "d/b";
    uint64_t generation = make_generation(*state, "g", &path, 1);
    uint64_t d = lookup(*state, generation, "d");

    tree_detach(*state, TREE_ROOT_ID);
    tree_detach(*state, 4711);
    tree_detach(*state, d);
    tree_detach(*state, d);
    assert_content(*state, find(*state, d, "b"), "d/b");
    assert_int_equal(lookup(*state, TREE_ROOT_ID, "g"), generation);
}

/* ---- content of removed generations that readers hold */

#define BIG_BYTES (1u << 20)

/* A payload of one file "a" of 1 MiB. */
static struct payload *make_big_payload(void)
{
    static char text[BIG_BYTES];
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    const struct object_input input = {.key = "k", .text = text, .len = sizeof(text) - 16};
    const struct payload_attributes attributes = {.mode = 0640};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;

    memset(text, 'b', sizeof(text));
    assert_int_equal(object_new(&like, &input, 1, &object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(
        payload_builder_add(builder, "a", object, &object->entries[0], &attributes, NULL), 0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}

/* Make a generation of a volume and remove it while a reader has its file open. Return: its id. */
static uint64_t publish_and_hold_payload(struct tree *tree, uint64_t volume, const char *generation,
                                         struct payload *payload)
{
    uint64_t g = make_filled(tree, volume, generation, payload, false);
    uint64_t a = lookup(tree, g, "a");

    assert_int_equal(tree_unlink(tree, g, "a"), 0);
    assert_int_equal(tree_rmdir(tree, volume, generation), 0);
    tree_forget(tree, g, 1);
    return a;
}

static uint64_t publish_and_hold(struct tree *tree, uint64_t volume, const char *generation)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_big_payload();

    return publish_and_hold_payload(tree, volume, generation, payload);
}

static int read_one(struct tree *tree, uint64_t id)
{
    struct file_content content;
    int r = tree_read(tree, id, &content);

    if (r == 0)
        object_unref(content.object);
    return r;
}

/* Hold more than a volume may. @ret_ids: of the files, the oldest first */
#define N_HELD 20

static void hold_too_much(struct tree *tree, uint64_t volume, uint64_t ret_ids[static N_HELD])
{
    for (size_t i = 0; i < N_HELD; i++) {
        char name[16];

        snprintf(name, sizeof(name), "..g%zu", i);
        ret_ids[i] = publish_and_hold(tree, volume, name);
    }
}

/* The oldest ones go; the length stays, so that no reader takes a file for an empty one. */
static void held_content_is_limited(struct tree *tree, uint64_t volume, uint64_t other)
{
    uint64_t ids[N_HELD], kept = publish_and_hold(tree, other, "..g");
    struct stat stat;

    hold_too_much(tree, volume, ids);
    assert_true(tree_usage(tree).held_bytes <= HELD_VOLUME_BYTES_MAX + 2 * BIG_BYTES);
    assert_true(tree_usage(tree).content_bytes <= HELD_VOLUME_BYTES_MAX + 2 * BIG_BYTES);
    assert_int_equal(read_one(tree, ids[0]), -ESTALE);
    assert_int_equal(tree_stat(tree, ids[0], &stat), 0);
    assert_int_equal(stat.st_size, BIG_BYTES - 16);
    assert_int_equal(read_one(tree, ids[N_HELD - 1]), 0);
    assert_int_equal(read_one(tree, kept), 0);
    assert_true(tree_usage(tree).n_dropped > 0);
    for (size_t i = 0; i < N_HELD; i++)
        tree_forget(tree, ids[i], 1);
    tree_forget(tree, kept, 1);
    assert_int_equal(tree_usage(tree).held_bytes, 0);
    assert_int_equal(tree_usage(tree).content_bytes, 0);
}

static void held_content_of_a_volume_is_limited(void **state)
{
    uint64_t v = make_directory(*state, "v"), other = make_directory(*state, "w");

    held_content_is_limited(*state, v, other);
}

static void held_content_of_the_root_is_limited(void **state)
{
    held_content_is_limited(*state, TREE_ROOT_ID, make_directory(*state, "w"));
}

/* A payload of one file of 1 byte, of an object of 1 MiB. */
static struct payload *make_small_payload_of_big_object(void)
{
    static char text[BIG_BYTES];
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    const struct object_input inputs[] = {
        {.key = "big", .text = text, .len = sizeof(text) - 16},
        {.key = "small", .text = "s", .len = 1},
    };
    const struct payload_attributes attributes = {.mode = 0640};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;

    memset(text, 'b', sizeof(text));
    assert_int_equal(object_new(&like, inputs, ELEMENTS_OF(inputs), &object, NULL), 0);
    assert_int_equal(payload_builder_new(&builder), 0);
    assert_int_equal(
        payload_builder_add(builder, "a", object, object_find(object, "small"), &attributes, NULL),
        0);
    assert_int_equal(payload_builder_finish(builder, &payload, NULL), 0);
    return payload;
}

/* A file that is held holds its object. */
static void held_objects_are_charged(void **state)
{
    size_t before = secmem_bytes();
    uint64_t ids[2 * N_HELD];

    for (size_t i = 0; i < ELEMENTS_OF(ids); i++) {
        _cleanup_(payload_unrefp) struct payload *payload = make_small_payload_of_big_object();

        ids[i] = publish_and_hold_payload(*state, TREE_ROOT_ID, "..g", payload);
    }
    assert_true(secmem_bytes() - before <= HELD_VOLUME_BYTES_MAX + 2 * BIG_BYTES);
    assert_int_equal(read_one(*state, ids[0]), -ESTALE);
    assert_int_equal(read_one(*state, ids[2 * N_HELD - 1]), 0);
    for (size_t i = 0; i < ELEMENTS_OF(ids); i++)
        tree_forget(*state, ids[i], 1);
}

/* A volume that is gone is not charged, and its readers keep what they hold. */
static void held_content_outlives_its_volume(void **state)
{
    uint64_t v = make_directory(*state, "v"), a = publish_and_hold(*state, v, "..g");

    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "v"), 0);
    tree_forget(*state, v, 1);
    assert_int_equal(read_one(*state, a), 0);
    tree_forget(*state, a, 1);
    assert_int_equal(tree_usage(*state).held_bytes, 0);
}

/* Its volume is known while it is linked, and while a reader holds it. */
static void file_is_described(void **state)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_small_payload_of_big_object();
    uint64_t v = make_directory(*state, "v"), linked, held = publish_and_hold(*state, v, "..g");
    struct tree_file file;
    struct stat stat;

    assert_int_equal(tree_stage(*state, "..h", payload, false), 0);
    assert_int_equal(tree_mkdir(*state, gettid(), v, "..h", 0755, &stat), 0);
    assert_int_equal(tree_find_path(*state, stat.st_ino, payload->files[0].path, &stat), 0);
    linked = stat.st_ino;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(tree_describe_file(*state, i == 0 ? linked : held, &file), 0);
        assert_int_equal(file.volume, v);
        object_unref(file.content.object);
    }
    assert_int_equal(tree_held_files(*state, v), 1);
    tree_forget(*state, held, 1);
    assert_int_equal(tree_held_files(*state, v), 0);
    assert_int_equal(tree_describe_file(*state, held, &file), -ESTALE);
    assert_int_equal(tree_describe_file(*state, v, &file), -EISDIR);
}

/* However many volumes there are. */
static void held_content_of_all_volumes_is_limited(void **state)
{
    size_t n = HELD_BYTES_MAX / BIG_BYTES + 4;
    uint64_t first = 0, last = 0;

    for (size_t i = 0; i < n; i++) {
        char name[16];

        snprintf(name, sizeof(name), "v%zu", i);
        last = publish_and_hold(*state, make_directory(*state, name), "..g");
        first = i == 0 ? last : first;
    }
    assert_true(tree_usage(*state).held_bytes <= HELD_BYTES_MAX + 2 * BIG_BYTES);
    assert_int_equal(read_one(*state, first), -ESTALE);
    assert_int_equal(read_one(*state, last), 0);
}

/* ---- depth, which a spec determines */

#define DEPTH             4000
#define SMALL_STACK_BYTES 65536

/* Make directories, each in the one before, with one reference each. */
static void make_deep(struct tree *tree, uint64_t ids[static DEPTH])
{
    struct stat stat = {.st_ino = TREE_ROOT_ID};

    for (size_t i = 0; i < DEPTH; i++) {
        assert_int_equal(tree_mkdir(tree, gettid(), stat.st_ino, "d", 0755, &stat), 0);
        ids[i] = stat.st_ino;
    }
}

static void *remove_deep(void *userdata)
{
    static uint64_t ids[DEPTH];
    struct tree *tree = userdata;

    make_deep(tree, ids);
    tree_detach(tree, ids[0]);
    for (size_t i = 0; i < DEPTH; i++)
        tree_forget(tree, ids[i], 1);
    return NULL;
}

static void run_on_small_stack(void *(*run)(void *), void *userdata)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, SMALL_STACK_BYTES), 0);
    assert_int_equal(pthread_create(&thread, &attr, run, userdata), 0);
    pthread_attr_destroy(&attr);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void deep_directories_are_freed(void **state)
{
    run_on_small_stack(remove_deep, *state);
    assert_int_equal(tree_usage(*state).n_nodes, 1);
}

/* ---- changes in an unlinked directory */

/* Neither in the directory itself nor in one below it. */
static void unlinked_directories_receive_no_names(void **state)
{
    static const char *const paths[] = {"d/b", "d/e/c"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, 1);
    const struct staged_node staged = {.file = &payload->files[0]};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t d = lookup(*state, generation, "d");
    uint64_t dirs[] = {d, lookup(*state, d, "e")};
    struct stat stat, link;

    for (size_t i = 0; i < ELEMENTS_OF(dirs); i++)
        assert_int_equal(tree_symlink(*state, dirs[i], "l", "target", &link), 0);
    assert_int_equal(tree_symlink(*state, generation, "l", "target", &link), 0);
    tree_detach(*state, d);
    for (size_t i = 0; i < ELEMENTS_OF(dirs); i++) {
        assert_int_equal(tree_symlink(*state, dirs[i], "new", "target", &stat), -ENOENT);
        assert_int_equal(tree_mkdir(*state, gettid(), dirs[i], "new", 0755, &stat), -ENOENT);
        assert_int_equal(make_node(*state, dirs[i], "new", staged, &stat), -ENOENT);
        assert_int_equal(tree_rename(*state, dirs[i], "l", dirs[i], "new"), -ENOENT);
        assert_int_equal(tree_exchange(*state, dirs[i], "l", generation, "l"), -ENOENT);
        assert_int_equal(tree_exchange(*state, generation, "l", dirs[i], "l"), -ENOENT);
    }
}

static void circles_are_refused(void **state)
{
    static const char *const path = "d/e/c";
    uint64_t generation = make_generation(*state, "g", &path, 1);
    uint64_t d = find(*state, generation, "d");
    struct stat stat;

    assert_int_equal(tree_exchange(*state, generation, "d", d, "e"), -EINVAL);
    assert_int_equal(tree_exchange(*state, d, "e", generation, "d"), -EINVAL);
    assert_int_equal(make_directory_node(*state, find(*state, d, "e"), "copy",
                                         (struct staged_node){.copy_of = d}, &stat),
                     -ESTALE);
    assert_content(*state, find(*state, generation, path), path);
}

/* For the memory checkers. */
static void detached_directory_goes_with_the_tree(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t d = find(*state, generation, "d");

    lookup(*state, d, "b");
    tree_detach(*state, d);
    assert_int_equal(tree_unlink(*state, generation, "a"), 0);
}

static void finds_paths(void **state)
{
    static const char *const paths[] = {"a", "d/e/b"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    struct stat stat;

    assert_int_equal(tree_find(*state, generation, "a", &stat), 0);
    assert_content(*state, stat.st_ino, "a");
    assert_int_equal(tree_find(*state, generation, "b", &stat), -ENOENT);
    assert_int_equal(tree_find_path(*state, generation, "d/e/b", &stat), 0);
    assert_content(*state, stat.st_ino, "d/e/b");
    assert_int_equal(tree_find_path(*state, generation, "d/e", &stat), 0);
    assert_true(S_ISDIR(stat.st_mode));
    assert_int_equal(tree_find_path(*state, generation, "d/x/b", &stat), -ENOENT);
    assert_int_equal(tree_find_path(*state, generation, "a/b", &stat), -ENOENT);
    assert_int_equal(tree_find_path(*state, 99, "a", &stat), -ESTALE);
}

/* ---- nodes that were unlinked, by the path that they had */

/* Return: the id, or 0. */
static uint64_t find_unlinked(struct tree *tree, const char *path)
{
    struct stat stat;
    int r = tree_find_unlinked(tree, path, &stat);

    assert_true(r == 0 || r == -ENOENT);
    return r == 0 ? stat.st_ino : 0;
}

/* The generation "g" of the volume "v". */
static uint64_t make_nested(struct tree *tree, const char *const *paths, size_t n)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, n);

    return make_filled(tree, make_directory(tree, "v"), "g", payload, false);
}

static void remove_nested(struct tree *tree, uint64_t generation)
{
    uint64_t v = find(tree, TREE_ROOT_ID, "v"), d = find(tree, generation, "d");

    assert_int_equal(tree_unlink(tree, generation, "a"), 0);
    assert_int_equal(tree_unlink(tree, generation, "unheld"), 0);
    assert_int_equal(tree_unlink(tree, d, "b"), 0);
    assert_int_equal(tree_rmdir(tree, generation, "d"), 0);
    assert_int_equal(tree_rmdir(tree, v, "g"), 0);
}

static const char *const nested_paths[] = {"a", "d/b", "unheld"};

static void unlinked_nodes_are_found_by_their_path(void **state)
{
    uint64_t generation = make_nested(*state, nested_paths, ELEMENTS_OF(nested_paths));
    uint64_t a = lookup(*state, generation, "a"), d = lookup(*state, generation, "d");
    uint64_t b = lookup(*state, d, "b");

    assert_int_equal(find_unlinked(*state, "v/g/a"), 0);
    remove_nested(*state, generation);
    assert_int_equal(find_unlinked(*state, "v/g"), generation);
    assert_int_equal(find_unlinked(*state, "v/g/a"), a);
    assert_int_equal(find_unlinked(*state, "v/g/d"), d);
    assert_int_equal(find_unlinked(*state, "v/g/d/b"), b);
    assert_int_equal(find_unlinked(*state, "v/g/unheld"), 0);
    assert_int_equal(find_unlinked(*state, "v"), 0);
    assert_int_equal(find_unlinked(*state, "a"), 0);
    assert_int_equal(find_unlinked(*state, "g/a"), 0);
    assert_int_equal(find_unlinked(*state, "/v/g/a"), 0);
    assert_int_equal(find_unlinked(*state, ""), 0);
    tree_forget(*state, a, 1);
    assert_int_equal(find_unlinked(*state, "v/g/a"), 0);
    assert_int_equal(find_unlinked(*state, "v/g/d/b"), b);
    tree_forget(*state, b, 1);
    assert_int_equal(find_unlinked(*state, "v/g/d/b"), 0);
}

/* Where no file becomes live, no path is remembered. */
static void paths_are_remembered_where_open_is_answered(void **state)
{
    uint64_t generation = make_nested(*state, nested_paths, ELEMENTS_OF(nested_paths));

    lookup(*state, generation, "a");
    remove_nested(*state, generation);
    assert_int_equal(find_unlinked(*state, "v/g"), 0);
    assert_int_equal(find_unlinked(*state, "v/g/a"), 0);
}

static void detached_directory_is_found_by_its_path(void **state)
{
    uint64_t generation = make_nested(*state, nested_paths, ELEMENTS_OF(nested_paths));
    uint64_t d = find(*state, generation, "d"), b = lookup(*state, d, "b");

    tree_detach(*state, d);
    assert_int_equal(find_unlinked(*state, "v/g/d"), d);
    assert_int_equal(find_unlinked(*state, "v/g/d/b"), 0); /* it still has its name */
    assert_int_equal(find(*state, d, "b"), b);
    tree_forget(*state, b, 1);
    assert_int_equal(find_unlinked(*state, "v/g/d"), 0);
}

/* The longest path that a volume's file can have. */
static void long_paths_are_remembered(void **state)
{
    char name[PAYLOAD_ELEMENT_MAX + 1] = "", path[PAYLOAD_PATH_MAX + 1] = "", whole[8192];
    const char *file = path;
    uint64_t id, v;

    memset(name, 'n', sizeof(name) - 1);
    for (size_t i = 0; i < PAYLOAD_PATH_MAX; i++)
        path[i] = i % 200 == 199 ? '/' : 'p';
    path[PAYLOAD_PATH_MAX - 1] = 'p';
    v = make_directory(*state, name);
    {
        _cleanup_(payload_unrefp) struct payload *payload = make_payload(&file, 1);

        id = find(*state,
                  make_filled(*state, v, "..2023_11_14_22_13_20.4294967295", payload, false), path);
    }
    snprintf(whole, sizeof(whole), "%s/..2023_11_14_22_13_20.4294967295/%s", name, path);
    assert_int_equal(find(*state, TREE_ROOT_ID, whole), id);
    *strrchr(path, '/') = '\0';
    assert_int_equal(lookup(*state,
                            find(*state, find(*state, v, "..2023_11_14_22_13_20.4294967295"), path),
                            path + strlen(path) + 1),
                     id);
    tree_detach(*state, id);
    assert_int_equal(find_unlinked(*state, whole), id);
}

/* ---- what is staged for tree_mknod() and tree_mkdir() */

static void files_of_a_staged_directory_can_be_live(void **state)
{
    static const char *const paths[] = {"a", "d/b"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, ELEMENTS_OF(paths));
    uint64_t live = make_filled(*state, TREE_ROOT_ID, "live", payload, true);
    uint64_t immutable = make_filled(*state, TREE_ROOT_ID, "immutable", payload, false);

    for (size_t i = 0; i < ELEMENTS_OF(paths); i++) {
        assert_true(live_file_is_live(*state, find(*state, live, paths[i])));
        assert_false(live_file_is_live(*state, find(*state, immutable, paths[i])));
        assert_content(*state, find(*state, live, paths[i]), paths[i]);
    }
}

static void a_staged_file_is_live(void **state)
{
    static const char *const paths[] = {"a"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, 1);
    const struct staged_node staged = {.file = &payload->files[0]};
    struct stat stat, other;

    assert_int_equal(tree_mknod(*state, gettid(), TREE_ROOT_ID, "f", &stat), -EROFS);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "f", staged, &stat), 0);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "f", staged, &other), -EEXIST);
    assert_int_equal(make_node(*state, stat.st_ino, "f", staged, &other), -ENOTDIR);
    assert_int_equal(make_node(*state, 4711, "f", staged, &other), -ESTALE);
    assert_int_equal(tree_mknod(*state, gettid(), TREE_ROOT_ID, "h", &other), -EROFS);
    assert_content(*state, stat.st_ino, "a");
    assert_true(live_file_is_live(*state, stat.st_ino));
    assert_int_equal(stat.st_mode, S_IFREG | 0640);
    assert_int_equal(stat.st_uid, 9);
    assert_int_equal(stat.st_gid, options.gid);
    assert_int_equal(stat.st_nlink, 1);
    /* the reply counted a reference, and directories are made as ever */
    tree_detach(*state, stat.st_ino);
    assert_content(*state, stat.st_ino, "a");
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "d", staged, &other), 0);
    assert_string_equal(list(*state, other.st_ino, 0, 9).text, ". .. ");
}

static void a_file_is_copied(void **state)
{
    static const char *const path = "a";
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(&path, 1);
    uint64_t generation = make_filled(*state, TREE_ROOT_ID, "g", payload, true);
    const struct staged_node staged = {.copy_of = find(*state, generation, "a")};
    struct stat original, copy;

    assert_int_equal(tree_chown(*state, staged.copy_of, 21, 22), 0);
    assert_int_equal(tree_chmod(*state, staged.copy_of, 0404), 0);
    assert_int_equal(tree_chmod(*state, TREE_ROOT_ID, 03777), 0);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "copy", staged, &copy), 0);
    assert_int_equal(tree_stat(*state, staged.copy_of, &original), 0);
    assert_int_not_equal(copy.st_ino, original.st_ino);
    assert_int_equal(find(*state, TREE_ROOT_ID, "copy"), copy.st_ino);
    assert_int_equal(copy.st_mode, S_IFREG | 0404);
    assert_int_equal(copy.st_uid, 21);
    assert_int_equal(copy.st_gid, 22);
    assert_int_equal(copy.st_nlink, 1);
    assert_int_equal(copy.st_size, original.st_size);
    assert_memory_equal(&copy.st_mtim, &original.st_mtim, sizeof(copy.st_mtim));
    assert_false(live_file_is_live(*state, copy.st_ino));
    assert_int_equal(tree_usage(*state).content_bytes, 2);
    /* it has the content for itself */
    tree_detach(*state, staged.copy_of);
    assert_false(is_there(*state, staged.copy_of));
    assert_content(*state, copy.st_ino, "a");
    assert_int_equal(tree_usage(*state).content_bytes, 1);
}

static void assert_same_attributes(struct tree *tree, uint64_t a, uint64_t b)
{
    struct stat x, y;

    assert_int_equal(tree_stat(tree, a, &x), 0);
    assert_int_equal(tree_stat(tree, b, &y), 0);
    assert_int_not_equal(x.st_ino, y.st_ino);
    assert_int_equal(x.st_mode, y.st_mode);
    assert_int_equal(x.st_nlink, y.st_nlink);
    assert_int_equal(x.st_uid, y.st_uid);
    assert_int_equal(x.st_gid, y.st_gid);
    assert_int_equal(x.st_size, y.st_size);
    assert_memory_equal(&x.st_mtim, &y.st_mtim, sizeof(x.st_mtim));
}

static void a_link_in_a_directory_is_copied(void **state)
{
    const struct staged_node staged = {.copy_of = make_directory(*state, "d")};
    struct stat copy, link;
    char *target = NULL;

    assert_int_equal(tree_symlink(*state, staged.copy_of, "l", "a/target", &link), 0);
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "copy", staged, &copy), 0);
    assert_same_attributes(*state, find(*state, copy.st_ino, "l"), link.st_ino);
    assert_int_equal(tree_readlink(*state, find(*state, copy.st_ino, "l"), &target), 0);
    assert_string_equal(target, "a/target");
    free(target);
}

static void a_directory_is_copied_with_all_below_it(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c", "d/e/f/g", "d/h/i", "d/j", "z"};
    static const char *const below[] = {"", "b", "e", "e/c", "e/f", "e/f/g", "h", "h/i", "j"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    const struct staged_node staged = {.copy_of = find(*state, generation, "d")};
    struct stat copy;

    assert_int_equal(tree_chmod(*state, find(*state, generation, "d"), 02711), 0);
    assert_int_equal(tree_chown(*state, find(*state, generation, "d/e"), 31, 32), 0);
    assert_int_equal(tree_chown(*state, find(*state, generation, "d/e/f/g"), 33, 34), 0);
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "copy", staged, &copy), 0);
    for (size_t i = 0; i < ELEMENTS_OF(below); i++)
        assert_same_attributes(*state, find(*state, copy.st_ino, below[i]),
                               find(*state, staged.copy_of, below[i]));
    assert_string_equal(list(*state, copy.st_ino, 0, 9).text, ". .. b e h j ");
    assert_string_equal(list(*state, find(*state, copy.st_ino, "e"), 0, 9).text, ". .. c f ");
    /* it is a tree of its own */
    tree_detach(*state, staged.copy_of);
    assert_false(is_there(*state, staged.copy_of));
    assert_content(*state, find(*state, copy.st_ino, "b"), "d/b");
    assert_content(*state, find(*state, copy.st_ino, "e/f/g"), "d/e/f/g");
    assert_content(*state, find(*state, copy.st_ino, "h/i"), "d/h/i");
    assert_content(*state, find(*state, copy.st_ino, "j"), "d/j");
}

static void only_what_is_there_is_copied(void **state)
{
    static const char *const path = "d/b";
    uint64_t generation = make_generation(*state, "g", &path, 1);
    const struct staged_node gone = {.copy_of = 4711};
    const struct staged_node directory = {.copy_of = find(*state, generation, "d")};
    const struct staged_node file = {.copy_of = find(*state, generation, "d/b")};
    size_t n_nodes = tree_usage(*state).n_nodes;
    struct stat stat;

    assert_int_equal(make_node(*state, TREE_ROOT_ID, "x", gone, &stat), -ESTALE);
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "x", gone, &stat), -ESTALE);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "x", directory, &stat), -ESTALE);
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "x", file, &stat), -ESTALE);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "g", file, &stat), -EEXIST);
    assert_int_equal(make_directory_node(*state, TREE_ROOT_ID, "g", directory, &stat), -EEXIST);
    assert_int_equal(tree_usage(*state).n_nodes, n_nodes);
}

static void an_unlinked_file_gets_a_name_again(void **state)
{
    static const char *const path = "a";
    uint64_t generation = make_generation(*state, "g", &path, 1);
    const struct staged_node staged = {.again = lookup(*state, generation, "a")};
    struct stat stat;

    assert_int_equal(make_node(*state, TREE_ROOT_ID, "again", staged, &stat), -ESTALE);
    assert_int_equal(tree_unlink(*state, generation, "a"), 0);
    assert_int_equal(find_unlinked(*state, "g/a"), staged.again);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "again", staged, &stat), 0);
    assert_int_equal(stat.st_ino, staged.again);
    assert_int_equal(stat.st_nlink, 1);
    assert_int_equal(stat.st_mode, S_IFREG | 0640);
    assert_int_equal(find_unlinked(*state, "g/a"), 0);
    assert_int_equal(find(*state, TREE_ROOT_ID, "again"), staged.again);
    assert_string_equal(list(*state, TREE_ROOT_ID, 0, 9).text, ". .. g again ");
    assert_content(*state, staged.again, "a");
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "third", staged, &stat), -ESTALE);
    /* two lookups count now */
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "again"), 0);
    assert_int_equal(find_unlinked(*state, "again"), staged.again);
    tree_forget(*state, staged.again, 1);
    assert_content(*state, staged.again, "a");
    tree_forget(*state, staged.again, 1);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "again", staged, &stat), -ESTALE);
}

/* Neither a directory nor what is in one. */
static void a_directory_gets_no_name_again(void **state)
{
    static const char *const path = "d/b";
    uint64_t generation = make_generation(*state, "g", &path, 1);
    const struct staged_node d = {.again = lookup(*state, generation, "d")};
    const struct staged_node b = {.again = lookup(*state, d.again, "b")};
    struct stat stat;

    tree_detach(*state, d.again);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "again", d, &stat), -ESTALE);
    assert_int_equal(make_node(*state, TREE_ROOT_ID, "again", b, &stat), -ESTALE);
    assert_content(*state, find(*state, d.again, "b"), "d/b");
}

/* ---- two nodes that take each other's name */

static uint64_t cookie_of(struct tree *tree, uint64_t directory, const char *name)
{
    for (uint64_t cookie = 0;;) {
        struct listing l = list(tree, directory, cookie, 1);

        assert_int_equal(l.n, 1);
        cookie = l.last_cookie;
        l.text[strlen(l.text) - 1] = '\0';
        if (streq(l.text, name))
            return cookie;
    }
}

static void siblings_are_exchanged(void **state)
{
    static const char *const paths[] = {"a", "b", "c", "d"};
    static const char *const pairs[][2] = {{"a", "b"}, {"b", "a"}, {"c", "d"}, {"d", "c"},
                                           {"a", "d"}, {"d", "b"}, {"a", "c"}};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));

    for (size_t i = 0; i < ELEMENTS_OF(pairs); i++) {
        const char *a = pairs[i][0], *b = pairs[i][1];
        uint64_t id_a = find(*state, generation, a), id_b = find(*state, generation, b);
        uint64_t at_a = cookie_of(*state, generation, a), at_b = cookie_of(*state, generation, b);

        assert_int_equal(tree_exchange(*state, generation, a, generation, b), 0);
        assert_int_equal(find(*state, generation, a), id_b);
        assert_int_equal(find(*state, generation, b), id_a);
        assert_int_equal(cookie_of(*state, generation, a), at_a);
        assert_int_equal(cookie_of(*state, generation, b), at_b);
        assert_string_equal(list(*state, generation, 0, 9).text, ". .. a b c d ");
        assert_string_equal(list(*state, generation, cookie_of(*state, generation, "b"), 9).text,
                            "c d ");
    }
    assert_int_equal(tree_usage(*state).n_nodes, 6);
}

static void nodes_of_two_directories_are_exchanged(void **state)
{
    static const char *const one[] = {"a", "b", "c"}, *const two[] = {"x", "y", "z"};
    uint64_t g = make_generation(*state, "g", one, ELEMENTS_OF(one));
    uint64_t h = make_generation(*state, "h", two, ELEMENTS_OF(two));
    uint64_t b = lookup(*state, g, "b"), y = find(*state, h, "y");
    struct stat stat;

    assert_int_equal(tree_exchange(*state, g, "b", h, "y"), 0);
    assert_int_equal(find(*state, g, "b"), y);
    assert_int_equal(find(*state, h, "y"), b);
    assert_content(*state, y, "y");
    assert_content(*state, b, "b");
    assert_int_equal(tree_find(*state, g, "y", &stat), -ENOENT);
    assert_string_equal(list(*state, g, 0, 9).text, ". .. a b c ");
    assert_string_equal(list(*state, h, 0, 9).text, ". .. x y z ");
    /* the path is the new one */
    assert_int_equal(tree_unlink(*state, h, "y"), 0);
    assert_int_equal(find_unlinked(*state, "h/y"), b);
    assert_int_equal(find(*state, g, "b"), y);
    /* each goes with its new directory */
    tree_detach(*state, g);
    tree_forget(*state, g, 1);
    assert_false(is_there(*state, y));
    assert_content(*state, b, "b");
}

static bool note_parent(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    uint64_t *id = userdata;

    if (streq(name, ".."))
        *id = stat->st_ino;
    return true;
}

/* What ".." leads to. */
static uint64_t parent_of(struct tree *tree, uint64_t directory)
{
    uint64_t id = 0;

    assert_int_equal(tree_readdir(tree, directory, 0, false, note_parent, &id), 0);
    return id;
}

static void directories_are_exchanged(void **state)
{
    static const char *const one[] = {"d/a", "d/e/b", "z"};
    uint64_t g = make_generation(*state, "g", one, ELEMENTS_OF(one));
    uint64_t h = make_directory(*state, "h"), d = find(*state, g, "d");
    struct stat empty;

    assert_int_equal(tree_mkdir(*state, gettid(), h, "empty", 0700, &empty), 0);
    assert_int_equal(tree_exchange(*state, g, "d", h, "empty"), 0);
    assert_int_equal(find(*state, g, "d"), empty.st_ino);
    assert_int_equal(find(*state, h, "empty"), d);
    assert_content(*state, find(*state, h, "empty/e/b"), "d/e/b");
    assert_int_equal(n_links(*state, g), 3);
    assert_int_equal(n_links(*state, h), 3);
    assert_int_equal(n_links(*state, d), 3);
    assert_int_equal(n_links(*state, empty.st_ino), 2);
    assert_int_equal(tree_rmdir(*state, g, "d"), 0);
    assert_int_equal(n_links(*state, g), 2);
    assert_int_equal(parent_of(*state, d), h);
    assert_int_equal(tree_rmdir(*state, h, "empty"), -ENOTEMPTY);
    tree_detach(*state, d);
    assert_int_equal(n_links(*state, h), 2);
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "h"), 0);
}

static void only_two_of_a_kind_are_exchanged(void **state)
{
    static const char *const paths[] = {"a", "d/b"};
    uint64_t g = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t a = find(*state, g, "a");
    struct stat stat;

    assert_int_equal(tree_symlink(*state, g, "l", "t", &stat), 0);
    assert_int_equal(tree_exchange(*state, g, "a", g, "d"), -EINVAL);
    assert_int_equal(tree_exchange(*state, g, "d", g, "a"), -EINVAL);
    assert_int_equal(tree_exchange(*state, g, "a", g, "l"), -EINVAL);
    assert_int_equal(tree_exchange(*state, g, "a", g, "x"), -ENOENT);
    assert_int_equal(tree_exchange(*state, g, "x", g, "a"), -ENOENT);
    assert_int_equal(tree_exchange(*state, g, "a", a, "a"), -ENOTDIR);
    assert_int_equal(tree_exchange(*state, 4711, "a", g, "a"), -ESTALE);
    assert_int_equal(tree_exchange(*state, g, "a", g, "a"), 0);
    assert_int_equal(find(*state, g, "a"), a);
    assert_string_equal(list(*state, g, 0, 9).text, ". .. a d l ");
}

/* ---- memory can be short */

static int stage_and_make(struct tree *tree, const char *name, struct payload *payload,
                          bool is_live, struct stat *ret_stat)
{
    int r = tree_stage(tree, name, payload, is_live);

    if (r == 0)
        r = tree_mkdir(tree, gettid(), TREE_ROOT_ID, name, 0700, ret_stat);
    tree_stage(tree, name, NULL, false);
    return r;
}

/* A link that is renamed, and read. */
static int use_links(struct tree *tree)
{
    struct stat stat;
    char *target;
    int r = tree_symlink(tree, TREE_ROOT_ID, "one", "1", &stat);

    if (r == 0)
        r = tree_symlink(tree, TREE_ROOT_ID, "two", "2", &stat);
    if (r == 0)
        r = tree_rename(tree, TREE_ROOT_ID, "two", TREE_ROOT_ID, "one");
    if (r == 0)
        r = tree_readlink(tree, stat.st_ino, &target);
    if (r == 0)
        free(target);
    return r;
}

static int use_staged_nodes(struct tree *tree, uint64_t generation, const struct payload *payload)
{
    struct stat d, file, stat;
    int r = tree_find(tree, generation, "d", &d);

    assert_int_equal(r, 0);
    r = make_node(tree, TREE_ROOT_ID, "file", (struct staged_node){.file = &payload->files[0]},
                  &file);
    if (r == 0)
        r = make_node(tree, TREE_ROOT_ID, "c", (struct staged_node){.copy_of = file.st_ino}, &stat);
    if (r == 0)
        r = make_directory_node(tree, TREE_ROOT_ID, "copy",
                                (struct staged_node){.copy_of = d.st_ino}, &stat);
    if (r == 0)
        r = tree_exchange(tree, TREE_ROOT_ID, "copy", generation, "d");
    if (r == 0)
        r = tree_unlink(tree, TREE_ROOT_ID, "file");
    if (r == 0)
        r = make_node(tree, generation, "again", (struct staged_node){.again = file.st_ino}, &stat);
    return r;
}

static int use_everything(void *userdata)
{
    const struct tree_options answering = {.root_mode = 0755, .answers_open = true};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct payload *payload = userdata;
    struct stat live, generation, held;
    int r = tree_new(&answering, &tree);

    if (r == 0)
        r = stage_and_make(tree, "live", payload, true, &live);
    if (r == 0)
        r = stage_and_make(tree, "g", payload, false, &generation);
    if (r == 0)
        r = use_links(tree);
    if (r == 0)
        r = use_staged_nodes(tree, generation.st_ino, payload);
    if (r == 0) /* what was made in vain is gone */
        assert_int_equal(tree_lookup(tree, live.st_ino, "a", &held), 0);
    if (r == 0)
        tree_detach(tree, live.st_ino);
    if (r == 0)
        assert_int_equal(tree_unlink(tree, live.st_ino, "a"), 0);
    return r;
}

static void memory_can_be_short(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, ELEMENTS_OF(paths));

    failmalloc_try(use_everything, payload);
}

/* A directory that failed half-way does not exist. */
static int make_or_leave(void *userdata)
{
    const struct tree_options answering = {.root_mode = 0755, .answers_open = true};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct payload *payload = userdata;
    struct tree_usage usage;
    struct stat g, stat;
    int r = tree_new(&answering, &tree);

    if (r == 0)
        r = stage_and_make(tree, "g", payload, false, &g);
    if (r < 0)
        return r;
    usage = tree_usage(tree);
    r = stage_and_make(tree, "live", payload, true, &stat);
    if (r == 0)
        return 0;
    assert_int_equal(tree_usage(tree).n_nodes, usage.n_nodes);
    assert_int_equal(tree_usage(tree).content_bytes, usage.content_bytes);
    assert_int_equal(tree_find(tree, TREE_ROOT_ID, "live", &stat), -ENOENT);
    return r;
}

static int copy_or_leave(void *userdata)
{
    const struct tree_options answering = {.root_mode = 0755, .answers_open = true};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct payload *payload = userdata;
    struct tree_usage usage;
    struct stat g, stat;
    int r = tree_new(&answering, &tree);

    if (r == 0)
        r = stage_and_make(tree, "g", payload, false, &g);
    if (r < 0)
        return r;
    usage = tree_usage(tree);
    r = make_directory_node(tree, TREE_ROOT_ID, "copy", (struct staged_node){.copy_of = g.st_ino},
                            &stat);
    if (r == 0)
        return 0;
    assert_int_equal(tree_usage(tree).n_nodes, usage.n_nodes);
    assert_int_equal(tree_usage(tree).content_bytes, usage.content_bytes);
    assert_int_equal(tree_find(tree, TREE_ROOT_ID, "copy", &stat), -ENOENT);
    return r;
}

static void nothing_stays_of_what_cannot_be_made(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c", "d/f"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, ELEMENTS_OF(paths));

    failmalloc_try(make_or_leave, payload);
    failmalloc_try(copy_or_leave, payload);
}

static void unlisted_link_does_not_keep_its_directory(void **state)
{
    struct listing l = {.n_max = 9};
    struct stat directory, link;

    assert_int_equal(tree_mkdir(*state, gettid(), TREE_ROOT_ID, "d", 0755, &directory), 0);
    assert_int_equal(tree_symlink(*state, directory.st_ino, TREE_UNLISTED_LINK, ".", &link), 0);
    assert_int_equal(tree_find(*state, directory.st_ino, TREE_UNLISTED_LINK, &link), 0);
    assert_int_equal(tree_readdir(*state, directory.st_ino, 0, true, add_name, &l), 0);
    assert_int_equal(l.n, 2); /* "." and ".." */
    assert_int_equal(tree_rmdir(*state, TREE_ROOT_ID, "d"), 0);
    tree_forget(*state, link.st_ino, 1);
    tree_forget(*state, directory.st_ino, 1);
    assert_int_equal(tree_usage(*state).n_nodes, 1);
}

int main(void)
{
#define TEST(f)      cmocka_unit_test_setup_teardown(f, setup, teardown)
#define TEST_OPEN(f) cmocka_unit_test_setup_teardown(f, setup_answering_open, teardown)
    const struct CMUnitTest tests[] = {
        TEST(root_is_an_empty_directory),
        TEST(staged_directory_is_born_filled),
        TEST(group_and_setgid_are_inherited),
        TEST(only_the_staged_name_is_filled),
        TEST(unlinked_file_lives_until_it_is_forgotten),
        TEST(forgetting_too_much_does_no_harm),
        TEST(unlisted_link_does_not_keep_its_directory),
        TEST(rename_takes_the_place_of_a_link),
        TEST(rename_without_a_link_to_replace),
        TEST(wrong_kinds_are_refused),
        TEST(listing_goes_on_while_the_directory_changes),
        TEST(listing_can_count_references),
        TEST(ids_are_never_used_again),
        TEST(detached_directory_lives_as_a_whole),
        TEST(detached_directory_is_held_by_each_of_its_nodes),
        TEST(what_is_not_held_goes_when_it_is_detached),
        TEST(detaching_nothing_does_no_harm),
        TEST(held_content_of_a_volume_is_limited),
        TEST(held_content_of_the_root_is_limited),
        TEST(held_objects_are_charged),
        TEST(held_content_outlives_its_volume),
        TEST(file_is_described),
        TEST(held_content_of_all_volumes_is_limited),
        TEST(deep_directories_are_freed),
        TEST(unlinked_directories_receive_no_names),
        TEST(circles_are_refused),
        TEST(detached_directory_goes_with_the_tree),
        TEST(finds_paths),
        TEST_OPEN(unlinked_nodes_are_found_by_their_path),
        TEST(paths_are_remembered_where_open_is_answered),
        TEST_OPEN(detached_directory_is_found_by_its_path),
        TEST_OPEN(long_paths_are_remembered),
        TEST_OPEN(files_of_a_staged_directory_can_be_live),
        TEST_OPEN(a_staged_file_is_live),
        TEST_OPEN(a_file_is_copied),
        TEST_OPEN(a_directory_is_copied_with_all_below_it),
        TEST_OPEN(a_link_in_a_directory_is_copied),
        TEST_OPEN(only_what_is_there_is_copied),
        TEST_OPEN(an_unlinked_file_gets_a_name_again),
        TEST_OPEN(a_directory_gets_no_name_again),
        TEST_OPEN(siblings_are_exchanged),
        TEST_OPEN(nodes_of_two_directories_are_exchanged),
        TEST_OPEN(directories_are_exchanged),
        TEST_OPEN(only_two_of_a_kind_are_exchanged),
        cmocka_unit_test(memory_can_be_short),
        cmocka_unit_test(nothing_stays_of_what_cannot_be_made),
    };

    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
