/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "grpc/listener.h"

#include "tests/unit/failmalloc.h"
#include "tests/unit/fake_keeper.h"

static char directory[64], path[96];

static int make_directory(void **state)
{
    snprintf(directory, sizeof(directory), "/tmp/secretfs-listener-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/d/a.sock", directory);
    return 0;
}

static int remove_directory(void **state)
{
    char below[80];

    snprintf(below, sizeof(below), "%s/d", directory);
    return rmdir(below) < 0 || rmdir(directory) < 0 ? -1 : 0;
}

static void on_connected(void *userdata, int fd_consumed)
{
    unsigned *n = userdata;

    (*n)++;
    close(fd_consumed);
}

/* Return: a connected descriptor, or -1. */
static int try_connecting(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void run_until(sd_event *event, const unsigned *n, unsigned expected)
{
    while (*n < expected)
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
}

static void removed_file_is_created_again(void **state)
{
    struct listener *listener = NULL;
    struct error e = ERROR_INIT;
    sd_event *event = NULL;
    unsigned n = 0;

    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(listener_new(event, path, NULL, on_connected, &n, &listener, &e), 0);
    close(try_connecting());
    run_until(event, &n, 1);
    for (unsigned i = 2; i < 4; i++) {
        int fd;

        assert_int_equal(unlink(path), 0);
        while ((fd = try_connecting()) < 0)
            assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        close(fd);
        run_until(event, &n, i);
    }
    assert_null(listener_free(listener));
    assert_int_equal(access(path, F_OK), -1);
    assert_null(listener_free(NULL));
    sd_event_unref(event);
}

/* A client connects between the two listeners. */
static void kept_socket_is_taken_over(void **state)
{
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    const struct kept_socket keep = fake_keeper_keep(&keeper);
    struct listener *listener = NULL;
    sd_event *event = NULL;
    unsigned n = 0;
    int fd;

    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(listener_new(event, path, &keep, on_connected, &n, &listener, NULL), 0);
    assert_false(listener_has_taken_over(listener));
    keeper.leaves = true;
    listener_free(listener);
    fd = try_connecting();
    assert_true(fd >= 0);
    assert_int_equal(listener_new(event, path, &keep, on_connected, &n, &listener, NULL), 0);
    assert_true(listener_has_taken_over(listener));
    run_until(event, &n, 1);
    close(fd);
    keeper.leaves = false;
    listener_free(listener);
    assert_int_equal(keeper.fd, -1);
    assert_int_equal(access(path, F_OK), -1);
    sd_event_unref(event);
}

static void another_file_is_not_taken_over(void **state)
{
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    const struct kept_socket keep = fake_keeper_keep(&keeper);
    struct listener *listener = NULL;
    sd_event *event = NULL;
    char aside[128];
    unsigned n = 0;

    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(listener_new(event, path, &keep, on_connected, &n, &listener, NULL), 0);
    keeper.leaves = true;
    listener_free(listener);
    snprintf(aside, sizeof(aside), "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(listener_new(event, path, &keep, on_connected, &n, &listener, NULL), 0);
    assert_false(listener_has_taken_over(listener));
    close(try_connecting());
    run_until(event, &n, 1);
    keeper.leaves = false;
    listener_free(listener);
    assert_int_equal(unlink(aside), 0);
    sd_event_unref(event);
}

/* As a registration, which the kubelet has to accept first. */
static void socket_that_is_kept_on_request(void **state)
{
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    struct kept_socket keep = fake_keeper_keep(&keeper);
    struct listener *listener = NULL;
    sd_event *event = NULL;
    unsigned n = 0;
    int fd;

    keep.is_on_request = true;
    assert_true(sd_event_new(&event) >= 0);
    assert_int_equal(listener_new(event, path, &keep, on_connected, &n, &listener, NULL), 0);
    assert_int_equal(keeper.fd, -1);
    listener_keep(listener);
    assert_true(keeper.fd >= 0);
    assert_int_equal(unlink(path), 0);
    while ((fd = try_connecting()) < 0)
        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
    close(fd);
    assert_int_equal(keeper.fd, -1); /* it was the removed file's */
    listener_free(listener);
    sd_event_unref(event);
}

static int try_listening(void *userdata)
{
    struct listener *listener = NULL;
    struct error e = ERROR_INIT;
    unsigned n = 0;
    sd_event *event = NULL;
    int r = sd_event_new(&event);

    if (r >= 0)
        r = listener_new(event, path, NULL, on_connected, &n, &listener, &e);
    listener_free(listener);
    sd_event_unref(event);
    assert_int_equal(access(path, F_OK), -1);
    return r;
}

static void allocation_failures_are_reported(void **state)
{
    failmalloc_try(try_listening, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removed_file_is_created_again),
        cmocka_unit_test(kept_socket_is_taken_over),
        cmocka_unit_test(another_file_is_not_taken_over),
        cmocka_unit_test(socket_that_is_kept_on_request),
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
