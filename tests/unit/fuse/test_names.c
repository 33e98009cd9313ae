/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/names.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/failmalloc.h"

static void a_path_begins_at_the_root(void **state)
{
    static const struct {
        const char *directory, *name, *path;
    } cases[] = {
        {"v", "..g", "v/..g"}, {".", "..g", "..g"},   {"", "a", "a"}, {"v/..g", "", "v/..g"},
        {".", "", ""},         {"v", "d/e", "v/d/e"}, {"", "", ""},
    };

    for (size_t i = 0; i < ELEMENTS_OF(cases); i++) {
        _cleanup_(freep) char *path = names_join(cases[i].directory, cases[i].name);

        assert_string_equal(path, cases[i].path);
    }
}

/* ---- walks */

#define DEPTH 2000

struct walk {
    size_t n;
    size_t n_directories;
    size_t len; /* of the path visited last */
};

/* Each directory comes after what is in it, so paths become shorter. */
static int on_name(void *userdata, const char *path, const struct name *name)
{
    struct walk *walk = userdata;
    size_t len = strlen(path);

    assert_true(walk->n == 0 || len < walk->len);
    walk->len = len;
    walk->n++;
    walk->n_directories += name->is_directory;
    return name->is_directory || walk->n == 1 ? 0 : -EIO;
}

static int make_and_walk(struct tree *tree, size_t depth, struct walk *ret_walk)
{
    struct stat stat = {.st_ino = TREE_ROOT_ID};
    int r = 0;

    for (size_t i = 0; i < depth && r == 0; i++)
        r = tree_mkdir(tree, gettid(), stat.st_ino, "d", 0755, &stat);
    if (r == 0)
        r = tree_symlink(tree, stat.st_ino, "l", "target", &stat);
    return r < 0 ? r : names_walk(tree, TREE_ROOT_ID, ".", on_name, ret_walk);
}

static void *walk_deep(void *userdata)
{
    const struct tree_options options = {.root_mode = 0755};
    _cleanup_(tree_freep) struct tree *tree = NULL;

    assert_int_equal(tree_new(&options, &tree), 0);
    assert_int_equal(make_and_walk(tree, DEPTH, userdata), 0);
    return NULL;
}

static void walks_need_no_stack(void **state)
{
    struct walk walk = {0};
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    assert_int_equal(pthread_attr_setstacksize(&attr, 65536), 0);
    assert_int_equal(pthread_create(&thread, &attr, walk_deep, &walk), 0);
    pthread_attr_destroy(&attr);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(walk.n, DEPTH + 1);
    assert_int_equal(walk.n_directories, DEPTH);
    assert_int_equal(walk.len, 1);
}

static int walk_or_leave(void *userdata)
{
    const struct tree_options options = {.root_mode = 0755};
    _cleanup_(tree_freep) struct tree *tree = NULL;
    struct walk walk = {0};
    int r = tree_new(&options, &tree);

    return r < 0 ? r : make_and_walk(tree, 3, &walk);
}

static void memory_can_be_short_for_a_walk(void **state)
{
    failmalloc_try(walk_or_leave, NULL);
}

static void memory_can_be_short_for_a_path(void **state)
{
#ifdef FAILMALLOC_IS_OFF
    skip();
#else
    char *path;

    failmalloc.countdown = 1;
    failmalloc.has_failed = false;
    failmalloc.is_on = true;
    path = names_join(".", "..g");
    failmalloc.is_on = false;
    assert_true(failmalloc.has_failed);
    assert_null(path);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_begins_at_the_root),
        cmocka_unit_test(memory_can_be_short_for_a_path),
        cmocka_unit_test(walks_need_no_stack),
        cmocka_unit_test(memory_can_be_short_for_a_walk),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
