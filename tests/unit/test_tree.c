/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct tree_options options = {.uid = 7, .gid = 8, .root_mode = 01777};

static int setup(void **state)
{
    struct tree *tree = NULL;

    assert_int_equal(tree_new(&options, &tree), 0);
    *state = tree;
    return 0;
}

static int teardown(void **state)
{
    (void)tree_free(*state);
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

/* Make the directory @name in the root, filled with files. Return: its id, with one reference. */
static uint64_t make_generation(struct tree *tree, const char *name, const char *const *paths,
                                size_t n)
{
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, n);
    struct stat stat;

    assert_int_equal(tree_stage(tree, name, payload), 0);
    assert_int_equal(tree_mkdir(tree, TREE_ROOT_ID, name, 0700, &stat), 0);
    assert_int_equal(tree_stage(tree, name, NULL), 0);
    return stat.st_ino;
}

static uint64_t lookup(struct tree *tree, uint64_t parent, const char *name)
{
    struct stat stat;

    assert_int_equal(tree_lookup(tree, parent, name, &stat), 0);
    return stat.st_ino;
}

static void assert_content(struct tree *tree, uint64_t id, const char *text)
{
    struct tree_content content;

    assert_int_equal(tree_read(tree, id, &content), 0);
    assert_int_equal(content.len, strlen(text));
    assert_memory_equal(content.bytes, text, content.len);
    (void)object_unref(content.object);
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
    (void)snprintf(l->text + used, sizeof(l->text) - used, "%s ", name);
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

    assert_int_equal(tree_stage(*state, "..ts", payload), 0);
    assert_int_equal(tree_mkdir(*state, TREE_ROOT_ID, "other", 0700, &stat), 0);
    assert_int_equal(tree_lookup(*state, stat.st_ino, "a", &stat), -ENOENT);
    assert_int_equal(tree_mkdir(*state, TREE_ROOT_ID, "other", 0700, &stat), -EEXIST);
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
    struct tree_content content;
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

/* A reader that goes on where it stopped sees what was there all along once, whatever changes. */
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
    struct stat seen, unseen;

    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "seen", "1", &seen), 0);
    assert_int_equal(tree_symlink(*state, TREE_ROOT_ID, "unseen", "1", &unseen), 0);
    assert_int_equal(tree_readdir(*state, TREE_ROOT_ID, 0, true, add_name, &l), 0);
    tree_forget(*state, seen.st_ino, 1);
    tree_forget(*state, unseen.st_ino, 1);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "seen"), 0);
    assert_int_equal(tree_unlink(*state, TREE_ROOT_ID, "unseen"), 0);
    assert_int_equal(tree_stat(*state, seen.st_ino, &seen), 0);
    assert_int_equal(tree_stat(*state, unseen.st_ino, &unseen), -ESTALE);
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

/* A generation whose directory "d" is kept when it is removed. Return: the id of "d". */
static uint64_t remove_all_but_d(struct tree *tree, uint64_t generation)
{
    struct stat d;

    assert_int_equal(tree_find(tree, generation, "d", &d), 0);
    tree_keep(tree, d.st_ino, true);
    assert_true(tree_is_kept(tree, d.st_ino));
    assert_int_equal(tree_rmdir(tree, TREE_ROOT_ID, "g"), -ENOTEMPTY);
    assert_int_equal(tree_unlink(tree, generation, "a"), 0);
    assert_int_equal(tree_rmdir(tree, TREE_ROOT_ID, "g"), 0);
    return d.st_ino;
}

static void kept_directory_outlives_its_parent(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t d = remove_all_but_d(*state, generation), b = lookup(*state, d, "b");
    struct stat stat;

    tree_forget(*state, generation, 1);
    assert_int_equal(tree_stat(*state, generation, &stat), 0);
    assert_int_equal(stat.st_nlink, 0);
    assert_content(*state, b, "d/b");
    assert_int_equal(tree_find_path(*state, d, "e/c", &stat), 0);
    assert_true(tree_is_in(*state, stat.st_ino, d));
    assert_true(tree_is_in(*state, d, generation));
    assert_false(tree_is_in(*state, d, d));
    assert_false(tree_is_in(*state, d, TREE_ROOT_ID));

    /* it goes with the last that holds anything of it */
    tree_keep(*state, d, false);
    assert_content(*state, b, "d/b");
    tree_forget(*state, b, 1);
    assert_int_equal(tree_stat(*state, d, &stat), -ESTALE);
    assert_int_equal(tree_stat(*state, generation, &stat), -ESTALE);
    assert_int_equal(tree_usage(*state).n_nodes, 1);
    assert_int_equal(tree_usage(*state).content_bytes, 0);
}

static void kept_directory_goes_when_it_is_kept_no_longer(void **state)
{
    static const char *const paths[] = {"a", "d/b"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t d = remove_all_but_d(*state, generation);

    tree_forget(*state, generation, 1);
    assert_int_equal(tree_usage(*state).n_nodes, 4);
    tree_keep(*state, d, false);
    assert_int_equal(tree_usage(*state).n_nodes, 1);
}

/* For the memory checkers. */
static void kept_directory_goes_with_the_tree(void **state)
{
    static const char *const paths[] = {"a", "d/b", "d/e/c"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));

    (void)lookup(*state, remove_all_but_d(*state, generation), "b");
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

static void same_content_is_of_files(void **state)
{
    static const char *const paths[] = {"a", "b", "d/a"};
    uint64_t generation = make_generation(*state, "g", paths, ELEMENTS_OF(paths));
    uint64_t again = make_generation(*state, "h", paths, ELEMENTS_OF(paths));
    struct stat a, b, d, other;

    assert_int_equal(tree_find(*state, generation, "a", &a), 0);
    assert_int_equal(tree_find(*state, generation, "b", &b), 0);
    assert_int_equal(tree_find(*state, generation, "d", &d), 0);
    assert_int_equal(tree_find(*state, again, "a", &other), 0);
    assert_true(tree_same_content(*state, a.st_ino, other.st_ino));
    assert_false(tree_same_content(*state, a.st_ino, b.st_ino));
    assert_false(tree_same_content(*state, a.st_ino, d.st_ino));
    assert_false(tree_same_content(*state, a.st_ino, 99));
}

static void files_change_in_place(void **state)
{
    static const char *const old_paths[] = {"a", "b"}, *const new_paths[] = {"a", "c"};
    uint64_t generation = make_generation(*state, "g", old_paths, 2);
    _cleanup_(payload_unrefp) struct payload *same = make_payload(old_paths, 2);
    _cleanup_(payload_unrefp) struct payload *other = make_payload(new_paths, 2);
    struct payload_file swapped[2] = {other->files[1], other->files[0]};
    struct payload payload = {.files = swapped, .n_files = 2};
    size_t changed[2], bytes = tree_usage(*state).content_bytes;
    struct stat a, b;

    swapped[0].path = strdupa("a"); /* a has what c has */
    swapped[1].path = strdupa("x");
    assert_int_equal(tree_find(*state, generation, "a", &a), 0);
    assert_int_equal(tree_update(*state, generation, same, changed), 0);
    assert_int_equal(tree_update(*state, generation, &payload, changed), 1);
    assert_int_equal(changed[0], 0);
    assert_content(*state, a.st_ino, "c");
    assert_int_equal(tree_find(*state, generation, "b", &b), 0);
    assert_content(*state, b.st_ino, "b");
    assert_int_equal(tree_find(*state, generation, "x", &b), -ENOENT);
    assert_int_equal(tree_usage(*state).content_bytes, bytes);
    assert_int_equal(tree_update(*state, 99, &payload, changed), 0);
}

static void a_file_is_made_of_what_is_staged(void **state)
{
    static const char *const paths[] = {"a"};
    _cleanup_(payload_unrefp) struct payload *payload = make_payload(paths, 1);
    struct stat stat;

    assert_int_equal(tree_mknod(*state, TREE_ROOT_ID, "f", &stat), -EROFS);
    tree_stage_file(*state, &payload->files[0]);
    assert_int_equal(tree_mknod(*state, TREE_ROOT_ID, "f", &stat), 0);
    assert_int_equal(tree_mknod(*state, TREE_ROOT_ID, "f", &stat), -EEXIST);
    assert_int_equal(tree_mknod(*state, stat.st_ino, "f", &stat), -ENOTDIR);
    tree_stage_file(*state, NULL);
    assert_content(*state, stat.st_ino, "a");
    assert_int_equal(stat.st_mode, S_IFREG | 0640);
    assert_int_equal(stat.st_uid, 9);
    assert_int_equal(stat.st_gid, options.gid);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(root_is_an_empty_directory),
        TEST(staged_directory_is_born_filled),
        TEST(group_and_setgid_are_inherited),
        TEST(only_the_staged_name_is_filled),
        TEST(unlinked_file_lives_until_it_is_forgotten),
        TEST(forgetting_too_much_does_no_harm),
        TEST(rename_takes_the_place_of_a_link),
        TEST(rename_without_a_link_to_replace),
        TEST(wrong_kinds_are_refused),
        TEST(listing_goes_on_while_the_directory_changes),
        TEST(listing_can_count_references),
        TEST(ids_are_never_used_again),
        TEST(kept_directory_outlives_its_parent),
        TEST(kept_directory_goes_when_it_is_kept_no_longer),
        TEST(kept_directory_goes_with_the_tree),
        TEST(finds_paths),
        TEST(same_content_is_of_files),
        TEST(files_change_in_place),
        TEST(a_file_is_made_of_what_is_staged),
    };

    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
