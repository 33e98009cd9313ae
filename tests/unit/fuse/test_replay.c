/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree, and a kernel that has cached what it knows of it: the system calls are stood in for by
 * what that kernel would do, which answers by itself where it can, and else has a worker confirm
 * what it asks for.
 */
#include "fuse/replay.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "fuse/node.h"
#include "tests/unit/failmalloc.h"

#define DIR_FD       4711
#define NAME_MAX_LEN 64
#define CACHED_MAX   16

struct cached {
    char path[NAME_MAX_LEN];
    uint64_t id;
};

static struct {
    struct tree *tree;
    struct cached all[CACHED_MAX];
    size_t n;
    char requests[512]; /* each with a blank before it */
    int error;          /* of each request */
} kernel;

static struct cached *find_cached(const char *path)
{
    for (size_t i = 0; i < kernel.n; i++)
        if (streq(kernel.all[i].path, path))
            return &kernel.all[i];
    return NULL;
}

static uint64_t id_of(const char *path)
{
    struct stat stat;

    return tree_find_path(kernel.tree, TREE_ROOT_ID, path, &stat) == 0 ? stat.st_ino : 0;
}

static void cache(const char *path, uint64_t id)
{
    struct cached *c = find_cached(path);

    if (c == NULL) {
        assert_true(kernel.n < CACHED_MAX);
        c = &kernel.all[kernel.n++];
        snprintf(c->path, sizeof(c->path), "%s", path);
    }
    c->id = id;
}

static void forget(const char *path)
{
    struct cached *c = find_cached(path);

    assert_non_null(c);
    if (c != NULL) /* gcc does not know that cmocka does not return */
        *c = kernel.all[--kernel.n];
}

static int request(const char *call, const char *path)
{
    size_t used = strlen(kernel.requests);

    snprintf(kernel.requests + used, sizeof(kernel.requests) - used, " %s:%s", call, path);
    errno = kernel.error;
    return kernel.error != 0 ? -1 : 0;
}

static int fail_with(int error)
{
    errno = error;
    return -1;
}

/* ---- system calls */

static int make(const char *call, int fd, const char *path)
{
    assert_int_equal(fd, DIR_FD);
    if (find_cached(path) != NULL)
        return fail_with(EEXIST);
    if (request(call, path) < 0)
        return -1;
    cache(path, id_of(path));
    return 0;
}

int mkdirat(int fd, const char *path, mode_t mode)
{
    return make("mkdir", fd, path);
}

int symlinkat(const char *target, int fd, const char *path)
{
    assert_string_equal(target, "target");
    return make("symlink", fd, path);
}

int unlinkat(int fd, const char *path, int flags)
{
    assert_int_equal(fd, DIR_FD);
    if (find_cached(path) == NULL)
        return fail_with(ENOENT);
    if (request((flags & AT_REMOVEDIR) != 0 ? "rmdir" : "unlink", path) < 0)
        return -1;
    forget(path);
    return 0;
}

int renameat(int fd, const char *path, int new_fd, const char *new_path)
{
    const struct cached *c = find_cached(path);

    assert_int_equal(fd, DIR_FD);
    assert_int_equal(new_fd, DIR_FD);
    assert_non_null(c);
    if (request("rename", path) < 0)
        return -1;
    cache(new_path, c->id);
    forget(path);
    return 0;
}

int fstatat(int fd, const char *path, struct stat *stat, int flags)
{
    const struct cached *c = find_cached(path);

    assert_int_equal(fd, DIR_FD);
    assert_int_equal(flags, AT_SYMLINK_NOFOLLOW);
    if (c == NULL)
        return fail_with(ENOENT);
    *stat = (struct stat){.st_ino = c->id};
    return 0;
}

/* ---- a volume */

static void add_directory(const char *name)
{
    struct stat stat;

    assert_int_equal(tree_mkdir(kernel.tree, gettid(), TREE_ROOT_ID, name, 0755, &stat), 0);
}

static void add_link(const char *name)
{
    struct stat stat;

    assert_int_equal(tree_symlink(kernel.tree, TREE_ROOT_ID, name, "target", &stat), 0);
}

static void note_removed(uint64_t parent, const char *name, bool is_directory)
{
    NODE_TABLE_GUARD(tree_nodes(kernel.tree));
    assert_int_equal(
        node_note_removed(tree_nodes(kernel.tree), parent, name, strlen(name), is_directory), 0);
}

/* A generation with the link to it, and a key, which the kernel knows. */
static int setup(void **state)
{
    static const char *const names[] = {"..1", "..data", "key"};

    memset(&kernel, 0, sizeof(kernel));
    assert_int_equal(tree_new(&(struct tree_options){.root_mode = 0755}, &kernel.tree), 0);
    add_directory("..1");
    add_link("..data");
    add_link("key");
    for (size_t i = 0; i < ELEMENTS_OF(names); i++)
        cache(names[i], id_of(names[i]));
    return 0;
}

static int teardown(void **state)
{
    kernel.tree = tree_free(kernel.tree);
    return 0;
}

/* The kernel has made these requests, and knows what the tree has after that. */
static void replay(const char *requests)
{
    assert_int_equal(replay_changes(kernel.tree, DIR_FD, TREE_ROOT_ID), 0);
    assert_string_equal(kernel.requests, requests);
    for (size_t i = 0; i < kernel.n; i++)
        assert_int_equal(kernel.all[i].id, id_of(kernel.all[i].path));
}

/* ---- tests */

static void nothing_was_missed(void **state)
{
    note_removed(TREE_ROOT_ID, "..0", true);
    note_removed(TREE_ROOT_ID, "..data_tmp", false);
    replay("");
}

static void what_was_made(void **state)
{
    add_link("new");
    add_directory("..2");
    replay(" symlink:new mkdir:..2");
}

static void the_switch(void **state)
{
    cache("..data_tmp", id_of("..data"));
    cache("..data", 4242);
    replay(" rename:..data_tmp");
}

static void the_first_switch(void **state)
{
    forget("..data");
    cache("..data_tmp", id_of("..data"));
    replay(" rename:..data_tmp");
}

/* The earlier process has removed it; to rename it would bring the old content back. */
static void an_old_link_is_not_renamed(void **state)
{
    cache("..data_tmp", 4242);
    replay(" unlink:..data_tmp");
}

static void what_was_removed(void **state)
{
    cache("gone", 4242);
    cache("..0", 4243);
    cache("..1/file", 4244);
    note_removed(TREE_ROOT_ID, "gone", false);
    note_removed(TREE_ROOT_ID, "..0", true);
    note_removed(id_of("..1"), "file", false);
    note_removed(4245, "elsewhere", false);
    replay(" unlink:..1/file unlink:gone rmdir:..0");
    kernel.requests[0] = '\0';
    replay(""); /* once is enough */
}

static void a_name_that_is_used_again(void **state)
{
    note_removed(TREE_ROOT_ID, "key", false);
    replay("");
}

static void a_failure_is_returned(void **state)
{
    add_link("new");
    add_link("newer");
    kernel.error = EIO;
    assert_int_equal(replay_changes(kernel.tree, DIR_FD, TREE_ROOT_ID), -EIO);
    assert_string_equal(kernel.requests, " symlink:new symlink:newer");
    kernel.error = 0;
    kernel.requests[0] = '\0';
    replay(" symlink:new symlink:newer");
}

static int note_and_replay(void *userdata)
{
    struct node_table *nodes = tree_nodes(kernel.tree);
    int r;

    {
        NODE_TABLE_GUARD(nodes);
        r = node_note_removed(nodes, TREE_ROOT_ID, "gone", 4, false);
    }
    if (r < 0)
        return r;
    r = replay_changes(kernel.tree, DIR_FD, TREE_ROOT_ID);
    if (r == -ENOMEM) {
        assert_string_equal(kernel.requests, "");
        return replay_changes(kernel.tree, DIR_FD, TREE_ROOT_ID) == 0 ? -ENOMEM : 0;
    }
    return r;
}

/* What was not repeated for lack of memory is repeated the next time. */
static int replay_in_spite_of_it(void *userdata)
{
    int r;

    kernel.requests[0] = '\0';
    cache("gone", 4242);
    r = note_and_replay(userdata);
    if (find_cached("gone") == NULL)
        assert_string_equal(kernel.requests, " unlink:gone");
    return r;
}

static void out_of_memory(void **state)
{
    failmalloc_try(replay_in_spite_of_it, NULL);
    assert_null(find_cached("gone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_was_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_made, setup, teardown),
        cmocka_unit_test_setup_teardown(the_switch, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_switch, setup, teardown),
        cmocka_unit_test_setup_teardown(an_old_link_is_not_renamed, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_is_used_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failure_is_returned, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_memory, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
