/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "node/created_dirs.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/private_dir.h"

struct fixture {
    char root[PRIVATE_DIR_SIZE]; /* private */
    char path[96];
    struct created_dirs *dirs;
};

static void reopen(struct fixture *f)
{
    struct error e = ERROR_INIT;

    f->dirs = created_dirs_free(f->dirs);
    if (created_dirs_new(f->path, &f->dirs, &e) < 0)
        fail_msg("%s", e.text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    private_dir_enter(f->root);
    snprintf(f->path, sizeof(f->path), "%s/made", f->root);
    reopen(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    f->dirs = created_dirs_free(f->dirs);
    private_dir_leave(f->root);
    free(f);
    return 0;
}

static const char *below(const struct fixture *f, const char *name)
{
    static char path[160];

    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    return path;
}

static void make(struct fixture *f, const char *name)
{
    struct error e = ERROR_INIT;

    if (created_dirs_make(f->dirs, below(f, name), &e) < 0)
        fail_msg("%s", e.text);
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

static void test_only_created_directories_are_removed(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(mkdir("mine", 0700), 0);
    make(f, "mine/a/b");
    assert_true(exists("mine/a/b"));
    created_dirs_remove(f->dirs, below(f, "mine/a/b"));
    assert_false(exists("mine/a"));
    assert_true(exists("mine"));
    make(f, "mine"); /* existed before */
    created_dirs_remove(f->dirs, below(f, "mine"));
    assert_true(exists("mine"));
}

static void test_mode_does_not_depend_on_the_umask(void **state)
{
    struct fixture *f = *state;
    mode_t before = umask(0077);
    struct stat st;

    make(f, "a/b");
    umask(before);
    assert_int_equal(stat("a", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static void test_directory_in_use_stays(void **state)
{
    struct fixture *f = *state;

    make(f, "a/b");
    make(f, "a/c");
    created_dirs_remove(f->dirs, below(f, "a/b"));
    assert_true(exists("a/c"));
    created_dirs_remove(f->dirs, below(f, "a/c"));
    assert_false(exists("a"));
}

/* The object is not freed, as after SIGKILL. */
static void test_record_survives_a_kill(void **state)
{
    struct fixture *f = *state;

    make(f, "a/b");
    reopen(f);
    created_dirs_remove(f->dirs, below(f, "a/b"));
    assert_false(exists("a"));
    reopen(f);
    make(f, "a");
    assert_int_equal(rmdir("a"), 0);
    assert_int_equal(mkdir("a", 0755), 0);
    created_dirs_remove(f->dirs, below(f, "a/none"));
    assert_true(exists("a"));
}

static bool is_needed(void *userdata, const char *path)
{
    return strncmp(userdata, path, strlen(path)) == 0;
}

static void test_prune_removes_unneeded(void **state)
{
    struct fixture *f = *state;
    char needed[160];

    make(f, "a/b/c");
    make(f, "a/d");
    make(f, "e");
    reopen(f);
    snprintf(needed, sizeof(needed), "%s", below(f, "a/d"));
    created_dirs_prune(f->dirs, is_needed, needed);
    assert_false(exists("a/b"));
    assert_true(exists("a/d"));
    assert_false(exists("e"));
}

static void test_file_in_place_of_a_directory(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    FILE *file = fopen("file", "we");

    assert_non_null(file);
    fclose(file);
    assert_int_equal(created_dirs_make(f->dirs, below(f, "file/a"), &e), -ENOTDIR);
    assert_non_null(strstr(e.text, "/file: Not a directory"));
    assert_int_equal(created_dirs_make(f->dirs, below(f, "file"), &e), -ENOTDIR);
}

static void test_invalid_record_counts_as_empty(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen("made", "we");

    assert_non_null(file);
    for (size_t i = 0; i < CREATED_DIRS_MAX + 1; i++)
        fprintf(file, "/no/such/%zu\n\nnonsense\n", i);
    fclose(file);
    reopen(f);
    created_dirs_prune(f->dirs, is_needed, f->root);
    make(f, "a");
}

static void test_limit(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    FILE *file = fopen("made", "we");

    assert_non_null(file);
    for (size_t i = 0; i < CREATED_DIRS_MAX; i++)
        fprintf(file, "/no/such/%zu\n", i);
    fclose(file);
    reopen(f);
    assert_int_equal(created_dirs_make(f->dirs, below(f, "a"), &e), -E2BIG);
    assert_non_null(strstr(e.text, "8192 others exist already"));
    assert_false(exists("a"));
}

static int make_and_remove(void *userdata)
{
    struct fixture *f = userdata;
    struct created_dirs *dirs = NULL;
    struct error e;
    int r = created_dirs_new(f->path, &dirs, &e);

    if (r == 0)
        r = created_dirs_make(dirs, below(f, "a/b"), &e);
    if (r == 0)
        created_dirs_remove(dirs, below(f, "a/b"));
    created_dirs_free(dirs);
    return r;
}

static void test_no_memory(void **state)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, LOG_TARGET_STDERR); /* its first line allocates */
    failmalloc_try(make_and_remove, *state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_only_created_directories_are_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mode_does_not_depend_on_the_umask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_directory_in_use_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record_survives_a_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune_removes_unneeded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_in_place_of_a_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_invalid_record_counts_as_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };

    return cmocka_run_group_tests_name("created_dirs", tests, NULL, NULL);
}
