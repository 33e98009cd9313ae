/* SPDX-License-Identifier: Apache-2.0 */
/* The descriptor store is this file's: what it keeps, and what was done to it in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "handover/kept_sockets.h"

#include "tests/unit/failmalloc.h"

#define STORED_MAX 8

static struct {
    char name[FD_STORE_NAME_MAX + 1];
    int fd;
    bool is_received;
} stored[STORED_MAX];
static size_t n_stored;
static char done[1024];

static void note(const char *what, const char *name)
{
    size_t len = strlen(done);

    snprintf(done + len, sizeof(done) - len, "%s%s%s ", what, name[0] != '\0' ? " " : "", name);
}

bool fd_store_name_is_valid(const char *name)
{
    return name[0] != '\0';
}

const char *fd_store_peek_name(const struct fd_store *store, size_t index)
{
    for (size_t i = 0; i < n_stored; i++)
        if (stored[i].is_received && index-- == 0)
            return stored[i].name;
    return NULL;
}

int fd_store_take(struct fd_store *store, const char *name)
{
    for (size_t i = 0; i < n_stored; i++)
        if (stored[i].is_received && streq(stored[i].name, name)) {
            stored[i].is_received = false;
            return dup(stored[i].fd);
        }
    return -ENOENT;
}

static void store_it(const char *name, int fd, bool is_received)
{
    assert_true(n_stored < STORED_MAX);
    snprintf(stored[n_stored].name, sizeof(stored[n_stored].name), "%s", name);
    stored[n_stored].fd = dup(fd);
    stored[n_stored++].is_received = is_received;
}

int fd_store_put(struct fd_store *store, const char *name, int fd, enum fd_store_until until,
                 struct error *e)
{
    assert_int_equal(until, FD_STORE_UNTIL_REMOVED);
    note("put", name);
    store_it(name, fd, false);
    return 0;
}

/* What was received stays with the process that has received it. */
int fd_store_remove(struct fd_store *store, const char *name, struct error *e)
{
    note("remove", name);
    for (size_t i = n_stored; i-- > 0;)
        if (!stored[i].is_received && streq(stored[i].name, name)) {
            close(stored[i].fd);
            stored[i] = stored[--n_stored];
        }
    return 0;
}

int fd_store_sync(struct fd_store *store, span_us timeout, struct error *e)
{
    note("sync", "");
    return 0;
}

/* ---- a service */

static struct kept_sockets *all;
static struct kept_socket keep;
static int listening;

/* An address of the kernel's choice. */
static int listen_anywhere(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address.sun_family)), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static int set_up(void **state)
{
    n_stored = 0;
    done[0] = '\0';
    listening = listen_anywhere();
    if (kept_sockets_new(NULL, &all) < 0)
        return -1;
    keep = kept_sockets_get(all, "csi");
    return 0;
}

static int tear_down(void **state)
{
    assert_null(kept_sockets_free(all));
    assert_null(kept_sockets_free(NULL));
    close(listening);
    for (size_t i = 0; i < n_stored; i++)
        close(stored[i].fd);
    return 0;
}

static void assert_done(const char *expected)
{
    assert_string_equal(done, expected);
    done[0] = '\0';
}

static void the_one_with_the_label_is_taken(void **state)
{
    int fd;

    store_it("socket.csi.801.1", listening, true);
    store_it("socket.csi.801.2", listening, true);
    store_it("socket.csi.801.22", listening, true);
    store_it("socket.csi-other.801.2", listening, true);
    store_it("standard.device", listening, true);
    fd = kept_socket_take(&keep, "801.2");
    assert_true(fd >= 0);
    assert_done("remove socket.csi.801.1 remove socket.csi.801.22 sync ");
    kept_sockets_drop_rest(all);
    assert_done("remove socket.csi-other.801.2 sync ");
    assert_string_equal(fd_store_peek_name(NULL, 0), "standard.device");
    close(fd);
}

static void without_the_label_none_is_taken(void **state)
{
    store_it("socket.csi.801.1", listening, true);
    assert_int_equal(kept_socket_take(&keep, "801.2"), -ENOENT);
    assert_done("remove socket.csi.801.1 sync ");
    assert_int_equal(kept_socket_take(&keep, "801.2"), -ENOENT);
    assert_done("");
}

static void what_does_not_listen_is_not_taken(void **state)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    store_it("socket.csi.801.1", fd, true);
    store_it("socket.csi.801.1", STDIN_FILENO, true);
    assert_int_equal(kept_socket_take(&keep, "801.1"), -ENOENT);
    close(fd);
}

/* Removing one removes all of its name. */
static void what_is_taken_stays_stored(void **state)
{
    int idle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;

    store_it("socket.csi.801.1", idle, true);
    store_it("socket.csi.801.1", listening, true);
    store_it("socket.csi.801.1", listening, true);
    fd = kept_socket_take(&keep, "801.1");
    assert_true(fd >= 0);
    assert_int_equal(n_stored, 1);
    kept_sockets_leave(all);
    assert_true(kept_socket_is_left(&keep));
    close(fd);
    close(idle);
}

/* At each moment the next process finds the one that is in use. */
static void new_one_is_stored_before_the_earlier_one_goes(void **state)
{
    int other = listen_anywhere();

    kept_socket_put(&keep, "801.1", listening);
    assert_done("put socket.csi.801.1 ");
    kept_socket_put(&keep, "801.1", listening);
    assert_done("");
    kept_socket_put(&keep, "801.2", other);
    assert_done("put socket.csi.801.2 remove socket.csi.801.1 ");
    kept_socket_put(&keep, "801.2", listening);
    assert_done("remove socket.csi.801.2 put socket.csi.801.2 ");
    assert_int_equal(n_stored, 1);
    kept_socket_remove(&keep);
    kept_socket_remove(&keep);
    assert_done("remove socket.csi.801.2 ");
    close(other);
}

static void only_what_is_stored_is_left(void **state)
{
    const struct kept_socket other = kept_sockets_get(all, "other");

    kept_socket_put(&keep, "801.1", listening);
    assert_false(kept_socket_is_left(&keep));
    kept_sockets_leave(all);
    assert_true(kept_socket_is_left(&keep));
    assert_false(kept_socket_is_left(&other));
    assert_false(kept_socket_is_left(NULL));
}

static void a_new_keeper_gets_all_of_them(void **state)
{
    const struct kept_socket other = kept_sockets_get(all, "other");

    kept_socket_put(&keep, "801.1", listening);
    kept_socket_put(&other, "tcp", listening);
    kept_socket_remove(&other);
    n_stored = 0;
    done[0] = '\0';
    kept_sockets_store_again(all);
    assert_done("put socket.csi.801.1 ");
}

static void a_file_has_a_label_of_its_inode_and_tag(void **state)
{
    const struct stat file = {.st_dev = 0x801, .st_ino = 12};
    struct kept_socket tagged = kept_sockets_get(all, "tagged");
    int fd;

    tagged.tag = "ab";
    kept_socket_put_file(&keep, &file, listening);
    kept_socket_put_file(&tagged, &file, listening);
    assert_done("put socket.csi.801.12 put socket.tagged.801.12.ab ");
    for (size_t i = 0; i < n_stored; i++)
        stored[i].is_received = true;
    fd = kept_socket_take_file(&keep, &file);
    assert_true(fd >= 0);
    close(fd);
    tagged.tag = "cd";
    assert_int_equal(kept_socket_take_file(&tagged, &file), -ENOENT);
    assert_done("remove socket.tagged.801.12.ab sync ");
}

static void without_a_keeper_nothing_is_done(void **state)
{
    const struct stat file = {.st_ino = 1};

    assert_int_equal(kept_socket_take(NULL, "a"), -ENOENT);
    assert_int_equal(kept_socket_take_file(NULL, &file), -ENOENT);
    kept_socket_put(NULL, "a", listening);
    kept_socket_put_file(NULL, &file, listening);
    kept_socket_remove(NULL);
    assert_done("");
}

static int try_making(void *userdata)
{
    _cleanup_(kept_sockets_freep) struct kept_sockets *made = NULL;

    return kept_sockets_new(NULL, &made);
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_making, NULL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_one_with_the_label_is_taken),
        TEST(without_the_label_none_is_taken),
        TEST(what_does_not_listen_is_not_taken),
        TEST(what_is_taken_stays_stored),
        TEST(new_one_is_stored_before_the_earlier_one_goes),
        TEST(only_what_is_stored_is_left),
        TEST(a_new_keeper_gets_all_of_them),
        TEST(a_file_has_a_label_of_its_inode_and_tag),
        TEST(without_a_keeper_nothing_is_done),
        TEST(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
