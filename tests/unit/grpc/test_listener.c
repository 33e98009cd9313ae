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
    assert_int_equal(listener_new(event, path, on_connected, &n, &listener, &e), 0);
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

static int try_listening(void *userdata)
{
    struct listener *listener = NULL;
    struct error e = ERROR_INIT;
    unsigned n = 0;
    sd_event *event = NULL;
    int r = sd_event_new(&event);

    if (r >= 0)
        r = listener_new(event, path, on_connected, &n, &listener, &e);
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
        cmocka_unit_test(allocation_failures_are_reported),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
