/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "keeper/directory.h"

static char parent[40];

static int set_up(void **state)
{
    snprintf(parent, sizeof(parent), "/tmp/secretfs-dir-XXXXXX");
    return mkdtemp(parent) != NULL ? 0 : -1;
}

/* Each test has removed what is in it. */
static int tear_down(void **state)
{
    return rmdir(parent);
}

static bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

/* Return: a descriptor that holds the directory. */
static int make(char path[static KEEPER_DIRECTORY_SIZE])
{
    const char *const parents[] = {NULL, "relative", "/nonexistent", parent};
    int fd = keeper_directory_make(parents, ELEMENTS_OF(parents), path);

    assert_true(fd >= 0);
    return fd;
}

/* Return: a descriptor that receives there. */
static int bind_socket(const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" KEEPER_SOCKET_NAME, directory);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void unlink_socket(const char *directory)
{
    char path[KEEPER_DIRECTORY_SIZE + 16];

    snprintf(path, sizeof(path), "%s/" KEEPER_SOCKET_NAME, directory);
    assert_int_equal(unlink(path), 0);
}

static void one_in_use_stays(void **state)
{
    char path[KEEPER_DIRECTORY_SIZE];
    struct stat status;
    int fd = make(path);

    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    keeper_directory_remove_abandoned(parent);
    assert_true(exists(path));
    close(fd);
    keeper_directory_remove_abandoned(parent);
    assert_false(exists(path));
}

/* With and without its socket. */
static void abandoned_ones_are_removed(void **state)
{
    char paths[3][KEEPER_DIRECTORY_SIZE];

    for (size_t i = 0; i < ELEMENTS_OF(paths); i++) {
        close(make(paths[i]));
        if (i > 0)
            close(bind_socket(paths[i]));
    }
    keeper_directory_remove_abandoned(parent);
    for (size_t i = 0; i < ELEMENTS_OF(paths); i++)
        assert_false(exists(paths[i]));
}

/* A keeper of a version that does not lock its directory. */
static void one_whose_socket_is_received_from_stays(void **state)
{
    char path[KEEPER_DIRECTORY_SIZE];
    int fd;

    close(make(path));
    fd = bind_socket(path);
    keeper_directory_remove_abandoned(parent);
    assert_true(exists(path));
    close(fd);
    keeper_directory_remove_abandoned(parent);
    assert_false(exists(path));
}

static void make_named(const char *name, char path[static KEEPER_DIRECTORY_SIZE])
{
    assert_true(snprintf(path, KEEPER_DIRECTORY_SIZE, "%s/%s", parent, name) <
                KEEPER_DIRECTORY_SIZE);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void what_is_not_a_keepers_stays(void **state)
{
    char other_name[KEEPER_DIRECTORY_SIZE], other_mode[KEEPER_DIRECTORY_SIZE],
        link[KEEPER_DIRECTORY_SIZE], full[KEEPER_DIRECTORY_SIZE];

    make_named("secretfs-keeper-x", other_name);
    make_named("secretfs-keeper-mode00", other_mode);
    assert_int_equal(chmod(other_mode, 0711), 0);
    snprintf(link, sizeof(link), "%s/secretfs-keeper-link00", parent);
    assert_int_equal(symlink(other_name, link), 0);
    make_named("secretfs-keeper-full00", full);
    close(bind_socket(full));
    unlink_socket(full);
    {
        char file[KEEPER_DIRECTORY_SIZE + 16];

        snprintf(file, sizeof(file), "%s/" KEEPER_SOCKET_NAME, full);
        close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    }
    keeper_directory_remove_abandoned(parent);
    assert_true(exists(other_name) && exists(other_mode) && exists(link) && exists(full));
    unlink_socket(full);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(rmdir(other_name) | rmdir(other_mode) | rmdir(full), 0);
}

static void another_users_stays(void **state)
{
    char path[KEEPER_DIRECTORY_SIZE];

    if (geteuid() != 0)
        skip();
    make_named("secretfs-keeper-user00", path);
    assert_int_equal(chown(path, 65534, 65534), 0);
    keeper_directory_remove_abandoned(parent);
    assert_true(exists(path));
    assert_int_equal(rmdir(path), 0);
}

static void without_a_place_none_is_made(void **state)
{
    const char *const parents[] = {NULL, "/nonexistent"};
    char path[KEEPER_DIRECTORY_SIZE] = "x";

    assert_int_equal(keeper_directory_make(parents, ELEMENTS_OF(parents), path), -ENOENT);
    assert_string_equal(path, "");
    keeper_directory_remove_abandoned("/nonexistent");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_in_use_stays),
        TEST(abandoned_ones_are_removed),
        TEST(one_whose_socket_is_received_from_stays),
        TEST(what_is_not_a_keepers_stays),
        TEST(another_users_stays),
        TEST(without_a_place_none_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
