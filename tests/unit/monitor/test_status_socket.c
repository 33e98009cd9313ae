/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "monitor/status_socket.h"

#include "tests/unit/fake_keeper.h"

/* A device number that no mount has. */
#define DEVICE makedev(4094, (unsigned)getpid())

/* Parts of different lengths: "0 0\n", "1 111...\n" and so on; then -errno or the end. */
struct teller {
    unsigned n_parts;
    int at_the_end;
    size_t part_len;
    unsigned n_asked;
    bool was_debug; /* the last client requested the debugging members */
};

static int tell(void *userdata, bool is_debug, uint64_t *cursor, struct buf *part)
{
    struct teller *t = userdata;
    int r = 0;

    t->n_asked++;
    t->was_debug = is_debug;
    if (*cursor == t->n_parts)
        return t->at_the_end;
    for (size_t i = 0; i < t->part_len && r == 0; i++)
        r = buf_addf(part, "%ju", (uintmax_t)(*cursor % 10));
    if (r == 0)
        r = buf_add_text(part, "\n");
    ++*cursor;
    if (r == 0 && (*cursor < t->n_parts || t->at_the_end != 0))
        return STATUS_MORE;
    return r;
}

struct fixture {
    sd_event *event;
    struct status_socket *control;
    struct teller teller;
};

static void set_up(struct fixture *f)
{
    struct error e = ERROR_INIT;

    assert_int_equal(sd_event_new(&f->event), 0);
    if (status_socket_new(f->event, DEVICE, NULL, tell, &f->teller, &f->control, &e) < 0)
        fail_msg("%s", e.text);
}

static void tear_down(struct fixture *f)
{
    assert_null(status_socket_free(f->control));
    assert_null(sd_event_unref(f->event));
}

static int connect_as(bool is_debug)
{
    const struct mount_entry entry = {.device = DEVICE, .owner = geteuid()};
    int fd = -1;

    assert_int_equal(status_socket_connect_mount(&entry, is_debug, 1000, &fd, NULL), 0);
    return fd;
}

static int connect_to_it(void)
{
    return connect_as(false);
}

/* What one client is sent, until the other side has said all. */
static int receive(struct fixture *f, int fd, struct buf *document)
{
    char block[4096];
    ssize_t n;

    while ((n = recv(fd, block, sizeof(block), MSG_DONTWAIT)) != 0) {
        if (n < 0 && errno == EAGAIN) {
            assert_true(sd_event_run(f->event, 1000) >= 0);
            continue;
        }
        if (n < 0)
            return negative_errno();
        assert_int_equal(buf_add(document, block, (size_t)n), 0);
    }
    return 0;
}

static void test_parts_are_put_together(void **state)
{
    struct fixture f = {.teller = {.n_parts = 20, .part_len = 300000}};
    struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int fd;

    set_up(&f);
    fd = connect_to_it();
    assert_int_equal(receive(&f, fd, &document), 0);
    assert_int_equal(document.len, 20 * 300001 + 1);
    assert_memory_equal(document.data + document.len - 3, "9\n\n", 3);
    assert_int_equal(f.teller.n_asked, 20);
    buf_deinit(&document);
    close(fd);
    tear_down(&f);
}

static void open_kept(struct fixture *f, const struct kept_socket *keep)
{
    assert_int_equal(status_socket_new(f->event, DEVICE, keep, tell, &f->teller, &f->control, NULL),
                     0);
}

/* A client connects while no process listens; its peer is the process that answers. */
static void test_socket_that_is_kept(void **state)
{
    struct fixture f = {.teller = {.n_parts = 1, .part_len = 10}};
    struct fake_keeper keeper = FAKE_KEEPER_INIT;
    const struct kept_socket keep = fake_keeper_keep(&keeper);
    const struct mount_entry entry = {.device = DEVICE, .owner = geteuid()};
    struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int fd;

    assert_int_equal(sd_event_new(&f.event), 0);
    open_kept(&f, &keep);
    keeper.leaves = true;
    status_socket_free(f.control);
    fd = connect_to_it();
    keeper.leaves = false;
    open_kept(&f, &keep);
    assert_int_equal(receive(&f, fd, &document), 0);
    assert_int_equal(document.len, 12);
    assert_int_equal(status_socket_process(fd), getpid());
    close(fd);
    tear_down(&f);
    assert_int_equal(keeper.fd, -1);
    assert_int_equal(status_socket_connect_mount(&entry, false, 1000, &fd, NULL), -ENOTCONN);
    buf_deinit(&document);
}

static void test_client_requests_debugging_members_when_it_connects(void **state)
{
    static const bool requests[] = {true, false, true};
    struct fixture f = {.teller = {.n_parts = 1, .part_len = 10}};

    set_up(&f);
    for (size_t i = 0; i < ELEMENTS_OF(requests); i++) {
        struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
        int fd = connect_as(requests[i]), same = connect_as(requests[i]);

        assert_int_equal(receive(&f, fd, &document), 0);
        assert_int_equal(f.teller.was_debug, requests[i]);
        buf_reset(&document);
        assert_int_equal(receive(&f, same, &document), 0);
        assert_int_equal(f.teller.was_debug, requests[i]);
        buf_deinit(&document);
        close(fd);
        close(same);
    }
    tear_down(&f);
}

static void test_one_who_does_not_read_costs_one_part(void **state)
{
    struct fixture f = {.teller = {.n_parts = 20, .part_len = 900000}};
    int fd;

    set_up(&f);
    fd = connect_to_it();
    while (sd_event_run(f.event, 0) > 0)
        continue;
    assert_true(f.teller.n_asked >= 1);
    assert_true(f.teller.n_asked <= 3); /* what fits into a socket's buffer is sent */
    close(fd);
    tear_down(&f);
}

static void test_clients_have_a_limit(void **state)
{
    enum { CLIENTS = 32 };
    struct fixture f = {.teller = {.n_parts = 1, .part_len = 10}};
    struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int fds[CLIENTS], one_more;

    set_up(&f);
    for (size_t i = 0; i < CLIENTS; i++) {
        fds[i] = connect_to_it();
        while (f.teller.n_asked <= i)
            assert_true(sd_event_run(f.event, UINT64_MAX) >= 0);
    }
    one_more = connect_to_it();
    assert_int_equal(receive(&f, one_more, &document), 0);
    assert_int_equal(document.len, 0);
    close(one_more);
    close(fds[0]);
    while (sd_event_run(f.event, 0) > 0)
        continue;
    fds[0] = connect_to_it();
    assert_int_equal(receive(&f, fds[0], &document), 0);
    assert_int_equal(document.len, 12);
    for (size_t i = 0; i < CLIENTS; i++)
        close(fds[i]);
    buf_deinit(&document);
    tear_down(&f);
}

static void test_document_that_fails_at_its_end(void **state)
{
    struct fixture f = {.teller = {.n_parts = 2, .part_len = 10, .at_the_end = -ENOMEM}};
    struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    int fd, r;

    set_up(&f);
    fd = connect_to_it();
    r = receive(&f, fd, &document);
    assert_true(r == 0 || r == -ECONNRESET);
    assert_int_equal(document.len, 22); /* and no end */
    buf_deinit(&document);
    close(fd);
    tear_down(&f);
}

static void test_no_server(void **state)
{
    const struct mount_entry entry = {.device = DEVICE, .owner = geteuid()};
    struct fixture f = {.teller = {.n_parts = 1}};
    int fd = -1;

    assert_int_equal(status_socket_connect_mount(&entry, false, 1000, &fd, NULL), -ENOTCONN);
    set_up(&f);
    status_socket_close(f.control);
    assert_int_equal(status_socket_connect_mount(&entry, false, 1000, &fd, NULL), -ENOTCONN);
    assert_int_equal(fd, -1);
    tear_down(&f);
}

/* ---- the clients' side */

static int receive_text(const char *text, struct error *e)
{
    struct buf document = BUF_INIT(100);
    int fds[2], r;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
    close(fds[1]);
    r = status_socket_receive(fds[0], &document, e);
    close(fds[0]);
    buf_deinit(&document);
    return r;
}

static void test_documents_that_are_cut_off(void **state)
{
    char too_long[200];
    struct error e = ERROR_INIT;

    assert_int_equal(receive_text("{}\n\n", &e), 0);
    assert_int_equal(receive_text("\n\n", &e), 0);
    assert_int_equal(receive_text("", &e), -EIO);
    assert_non_null(strstr(e.text, "sent no status"));
    assert_int_equal(receive_text("{}\n", &e), -EIO);
    assert_non_null(strstr(e.text, "ended the connection within its status"));
    assert_int_equal(receive_text("{}\n\n{", &e), -EIO);
    memset(too_long, 'x', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    assert_int_equal(receive_text(too_long, &e), -EFBIG);
}

/* A process without free descriptors: the waiting connection does not keep its loop busy. */
static void test_no_descriptor_for_a_connection(void **state)
{
    struct fixture f = {.teller = {.n_parts = 1, .part_len = 1}};
    struct buf document = BUF_INIT(STATUS_DOCUMENT_MAX);
    struct rlimit before, none;
    int fd, r;

    set_up(&f);
    fd = connect_to_it();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(sd_event_run(f.event, 0), 1);
    r = sd_event_run(f.event, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(r, 0);
    assert_int_equal(receive(&f, fd, &document), 0);
    assert_string_equal(buf_text(&document), "0\n\n");
    close(fd);
    buf_deinit(&document);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_socket_that_is_kept),
        cmocka_unit_test(test_parts_are_put_together),
        cmocka_unit_test(test_no_descriptor_for_a_connection),
        cmocka_unit_test(test_client_requests_debugging_members_when_it_connects),
        cmocka_unit_test(test_one_who_does_not_read_costs_one_part),
        cmocka_unit_test(test_clients_have_a_limit),
        cmocka_unit_test(test_document_that_fails_at_its_end),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_documents_that_are_cut_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
