/* SPDX-License-Identifier: Apache-2.0 */
/* A libfuse session whose device is a socket, with the test as the kernel at its other end. */
#include "fuse/device.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/util.h"

/* In flags2. */
#define DIRECT_IO_ALLOW_MMAP (1u << 4)
#define NO_EXPORT_SUPPORT    (1u << 6)
#define HAS_RESEND           (1u << 7)
#define ALLOW_IDMAP          (1u << 8)
#define ALL                  (DIRECT_IO_ALLOW_MMAP | NO_EXPORT_SUPPORT | ALLOW_IDMAP)

#define UNIQUE 77

struct fixture {
    struct fuse_session *fuse;
    int kernel_fd;
    struct fuse_buf buf; /* libfuse's; is used again and again, as the workers do */
    uint8_t reply[4096];
    size_t reply_len;
};

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    conn->want = 0;
}

static void on_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    const struct stat stat = {.st_ino = id, .st_mode = S_IFREG | 0644, .st_size = 5};

    fuse_reply_attr(req, &stat, 0);
}

static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    fuse_reply_open(req, fi);
}

static void be_silent(enum fuse_log_level level, const char *format, va_list ap)
{
}

static int setup(void **state)
{
    static const struct fuse_lowlevel_ops operations = {
        .init = on_init, .getattr = on_getattr, .open = on_open};
    static char name[] = "test";
    static char *argv[] = {name, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fixture *f = calloc(1, sizeof(*f));
    int fds[2];

    assert_non_null(f);
    fuse_set_log_func(be_silent);
    f->fuse = fuse_session_new(&args, &operations, sizeof(operations), f);
    assert_non_null(f->fuse);
    fuse_opt_free_args(&args);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    f->kernel_fd = fds[0];
    assert_int_equal(device_attach(f->fuse, fds[1]), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char byte;

    fuse_session_destroy(f->fuse);
    assert_int_equal(read(f->kernel_fd, &byte, 1), 0); /* the other end was closed with it */
    close(f->kernel_fd);
    free(f->buf.mem);
    free(f);
    return 0;
}

/* ---- the kernel */

static void send_request(struct fixture *f, uint32_t opcode, uint64_t unique, const void *body,
                         size_t len)
{
    uint8_t request[512] = {0};
    const struct fuse_in_header header = {.len = (uint32_t)(sizeof(header) + len),
                                          .opcode = opcode,
                                          .unique = unique,
                                          .nodeid = FUSE_ROOT_ID};

    assert_true(header.len <= sizeof(request));
    memcpy(request, &header, sizeof(header));
    if (len > 0)
        memcpy(request + sizeof(header), body, len);
    assert_int_equal(write(f->kernel_fd, request, header.len), header.len);
}

static void receive(struct fixture *f)
{
    assert_true(fuse_session_receive_buf(f->fuse, &f->buf) > 0);
}

static void process(struct fixture *f)
{
    fuse_session_process_buf(f->fuse, &f->buf);
}

/* What libfuse has written, or nothing. */
static void read_reply(struct fixture *f)
{
    ssize_t n = recv(f->kernel_fd, f->reply, sizeof(f->reply), MSG_DONTWAIT);

    f->reply_len = n < 0 ? 0 : (size_t)n;
}

static void request(struct fixture *f, uint32_t opcode, uint64_t unique, const void *body,
                    size_t len)
{
    send_request(f, opcode, unique, body, len);
    receive(f);
    process(f);
    read_reply(f);
}

static struct fuse_init_in init_of(uint32_t flags, uint32_t flags2)
{
    return (struct fuse_init_in){
        .major = 7, .minor = 36, .max_readahead = 4096, .flags = flags, .flags2 = flags2};
}

/* Return: the error of the reply, which is the one to @unique. */
static int32_t reply_error(const struct fixture *f, uint64_t unique)
{
    struct fuse_out_header header;

    assert_true(f->reply_len >= sizeof(header));
    memcpy(&header, f->reply, sizeof(header));
    assert_int_equal(header.len, f->reply_len);
    assert_int_equal(header.unique, unique);
    return header.error;
}

/* The body of the reply; what it is too short for is 0. */
static struct fuse_init_out init_reply(const struct fixture *f)
{
    struct fuse_init_out out = {0};

    assert_int_equal(reply_error(f, UNIQUE), 0);
    memcpy(&out, f->reply + sizeof(struct fuse_out_header),
           size_min(sizeof(out), f->reply_len - sizeof(struct fuse_out_header)));
    assert_int_equal(out.major, 7);
    return out;
}

static struct fuse_init_out init(struct fixture *f, uint32_t flags, uint32_t flags2)
{
    const struct fuse_init_in in = init_of(flags, flags2);

    send_request(f, FUSE_INIT, UNIQUE, &in, sizeof(in));
    assert_int_equal(device_negotiate(f->fuse, NULL), 0);
    read_reply(f);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out));
    return init_reply(f);
}

/* ---- INIT */

static void what_is_offered_is_taken(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, ALL);

    assert_int_equal(out.flags2 & ALL, ALL);
    assert_true((out.flags & FUSE_INIT_EXT) != 0);
    assert_true(out.max_write > 0); /* the rest is libfuse's */
}

/* What the request says is kept, for the process that adopts the mount. */
static void an_offer_to_send_again_is_found(void **state)
{
    struct fuse_init_in in = init_of(FUSE_INIT_EXT, HAS_RESEND);
    struct device_init kept = {.len = 0};

    assert_false(device_init_offers_resend(&kept));
    send_request(*state, FUSE_INIT, UNIQUE, &in, sizeof(in));
    assert_int_equal(device_negotiate(((struct fixture *)*state)->fuse, &kept), 0);
    assert_true(device_init_offers_resend(&kept));
    read_reply(*state);
    assert_int_equal(init_reply(*state).flags2 & HAS_RESEND, 0); /* it needs no answer */
}

/* As before Linux 4.2: a socket has no clone. The session goes on with what it has. */
static void without_a_clone(void **state)
{
    struct fixture *f = *state;
    int device_fd = -1;

    init(f, FUSE_INIT_EXT, 0);
    assert_true(device_work_on_clone(f->fuse, &device_fd) < 0);
    assert_int_equal(device_fd, -1);
    request(f, FUSE_GETATTR, 5, (uint8_t[16]){0}, 16);
    assert_int_equal(reply_error(f, 5), 0);
}

static void older_kernels_do_not_offer_to_send_again(void **state)
{
    const uint32_t flags[][2] = {{FUSE_INIT_EXT, ALL}, {0, HAS_RESEND}};

    for (size_t i = 0; i < ELEMENTS_OF(flags); i++) {
        const struct fuse_in_header header = {.opcode = FUSE_INIT};
        const struct fuse_init_in in = init_of(flags[i][0], flags[i][1]);
        struct device_init kept = {.len = sizeof(header) + sizeof(in)};

        memcpy(kept.bytes, &header, sizeof(header));
        memcpy(kept.bytes + sizeof(header), &in, sizeof(in));
        assert_false(device_init_offers_resend(&kept));
    }
}

static void each_is_taken_alone(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, ALLOW_IDMAP);

    assert_int_equal(out.flags2 & ALL, ALLOW_IDMAP);
    assert_true((out.flags & FUSE_INIT_EXT) != 0);
}

static void idmap_is_offered_or_not(void **state)
{
    static const struct {
        uint32_t flags, flags2;
        bool expected;
    } offers[] = {{FUSE_INIT_EXT, ALLOW_IDMAP, true},
                  {FUSE_INIT_EXT, ALL & ~ALLOW_IDMAP, false},
                  {0, ALLOW_IDMAP, false}};

    for (size_t i = 0; i < ELEMENTS_OF(offers); i++) {
        struct fuse_init_in in = init_of(offers[i].flags, offers[i].flags2);
        struct device_init init = {.len = sizeof(struct fuse_in_header) + sizeof(in)};
        struct fuse_in_header header = {.opcode = FUSE_INIT, .len = (uint32_t)init.len};

        memcpy(init.bytes, &header, sizeof(header));
        memcpy(init.bytes + sizeof(header), &in, sizeof(in));
        assert_int_equal(device_init_offers_idmap(&init), offers[i].expected);
        init.len--;
        assert_false(device_init_offers_idmap(&init));
    }
}

/* A container with CAP_DAC_READ_SEARCH could open other volumes by handle. */
static void handles_are_not_decoded(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, NO_EXPORT_SUPPORT);

    assert_int_equal(out.flags2 & ALL, NO_EXPORT_SUPPORT);
    assert_int_equal(out.flags & FUSE_EXPORT_SUPPORT, 0);
}

static void the_other_is_taken_alone(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, DIRECT_IO_ALLOW_MMAP);

    assert_int_equal(out.flags2 & ALL, DIRECT_IO_ALLOW_MMAP);
    assert_true((out.flags & FUSE_INIT_EXT) != 0);
}

static void what_is_not_offered_is_not_taken(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, 0);

    assert_int_equal(out.flags2 & ALL, 0);
}

/* Nor what is not known here. */
static void other_flags_are_left_to_libfuse(void **state)
{
    struct fuse_init_out out = init(*state, FUSE_INIT_EXT, ~(uint32_t)ALL);

    assert_int_equal(out.flags2 & ALL, 0);
    assert_int_equal(out.flags2 & ~(uint32_t)ALL & 0xffffff00u, 0);
}

/* Without FUSE_INIT_EXT the field has no meaning yet. */
static void no_extended_flags(void **state)
{
    struct fuse_init_out out = init(*state, 0, ALL);

    assert_int_equal(out.flags2, 0);
    assert_int_equal(out.flags & FUSE_INIT_EXT, 0);
}

/* A request that ends before the field, in a buffer that holds something else behind it. */
static void short_request(void **state)
{
    const struct fuse_init_in in = init_of(FUSE_INIT_EXT, 0);
    struct fixture *f = *state;
    uint8_t garbage[256];

    memset(garbage, 0xff, sizeof(garbage));
    send_request(f, FUSE_GETATTR, 3, garbage, sizeof(garbage));
    send_request(f, FUSE_INIT, UNIQUE, &in, offsetof(struct fuse_init_in, flags2));
    assert_int_equal(device_negotiate(f->fuse, NULL), 0);
    read_reply(f);
    assert_int_equal(reply_error(f, 3), -EIO); /* libfuse wants INIT first */
    read_reply(f);
    assert_int_equal(init_reply(f).flags2 & ALL, 0);
}

/* 7.22 and older: the reply has 24 bytes, and 8 before 7.5. */
static void short_replies_of_older_kernels(void **state)
{
    static const struct {
        uint32_t minor;
        size_t len;
    } all[] = {{22, FUSE_COMPAT_22_INIT_OUT_SIZE}, {4, FUSE_COMPAT_INIT_OUT_SIZE}};

    for (size_t i = 0; i < ELEMENTS_OF(all); i++) {
        struct fuse_init_in in = init_of(0, 0);
        struct fixture *f = *state;

        in.minor = all[i].minor;
        send_request(f, FUSE_INIT, UNIQUE, &in, sizeof(in));
        assert_int_equal(device_negotiate(f->fuse, NULL), 0);
        read_reply(f);
        assert_int_equal(f->reply_len, sizeof(struct fuse_out_header) + all[i].len);
        init_reply(f);
        /* a session answers INIT once */
        if (i + 1 < ELEMENTS_OF(all)) {
            assert_int_equal(teardown(state), 0);
            assert_int_equal(setup(state), 0);
        }
    }
}

/* A protocol that libfuse does not know: an error, without a body. */
static void reply_with_an_error(void **state)
{
    struct fuse_init_in in = init_of(FUSE_INIT_EXT, ALL);
    struct fixture *f = *state;

    in.major = 6;
    send_request(f, FUSE_INIT, UNIQUE, &in, sizeof(in));
    assert_int_equal(device_negotiate(f->fuse, NULL), -EPROTO);
    read_reply(f);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header));
    assert_int_equal(reply_error(f, UNIQUE), -EPROTO);
    /* the next INIT is one like any */
    assert_int_equal(init(f, FUSE_INIT_EXT, ALLOW_IDMAP).flags2 & ALL, ALLOW_IDMAP);
}

/* ---- everything else */

static void assert_attributes(const struct fixture *f, uint64_t unique)
{
    const struct fuse_attr_out want = {
        .attr = {.ino = FUSE_ROOT_ID, .mode = S_IFREG | 0644, .size = 5}};

    assert_int_equal(reply_error(f, unique), 0);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header) + sizeof(want));
    assert_memory_equal(f->reply + sizeof(struct fuse_out_header), &want, sizeof(want));
}

/* Were it INIT's reply, it would have flags where this has none. */
static void other_replies_are_left_alone(void **state)
{
    const struct fuse_getattr_in getattr_in = {0};
    const struct fuse_open_in open_in = {0};
    const struct fuse_open_out want = {0};
    struct fixture *f = *state;

    init(f, FUSE_INIT_EXT, ALL);
    request(f, FUSE_GETATTR, UNIQUE + 2, &getattr_in, sizeof(getattr_in));
    assert_attributes(f, UNIQUE + 2);
    request(f, FUSE_OPEN, UNIQUE, &open_in, sizeof(open_in)); /* numbers may be used again */
    assert_int_equal(reply_error(f, UNIQUE), 0);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header) + sizeof(want));
    assert_memory_equal(f->reply + sizeof(struct fuse_out_header), &want, sizeof(want));
}

/* A notification has no number. */
static void notifications_are_left_alone(void **state)
{
    const struct fuse_notify_inval_inode_out want = {.ino = 9, .len = 1};
    struct fixture *f = *state;

    init(f, FUSE_INIT_EXT, ALL);
    assert_int_equal(fuse_lowlevel_notify_inval_inode(f->fuse, 9, 0, 1), 0);
    read_reply(f);
    assert_int_equal(reply_error(f, 0), FUSE_NOTIFY_INVAL_INODE);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header) + sizeof(want));
    assert_memory_equal(f->reply + sizeof(struct fuse_out_header), &want, sizeof(want));
}

/* Requests before and behind INIT: each has its own reply, and the latter waits for a worker. */
static void requests_around_init(void **state)
{
    const struct fuse_init_in in = init_of(FUSE_INIT_EXT, ALL);
    const struct fuse_getattr_in getattr_in = {0};
    struct fixture *f = *state;

    send_request(f, FUSE_GETATTR, UNIQUE + 2, &getattr_in, sizeof(getattr_in));
    send_request(f, FUSE_INIT, UNIQUE, &in, sizeof(in));
    send_request(f, FUSE_GETATTR, UNIQUE + 4, &getattr_in, sizeof(getattr_in));
    assert_int_equal(device_negotiate(f->fuse, NULL), 0);
    read_reply(f);
    assert_int_equal(reply_error(f, UNIQUE + 2), -EIO);
    assert_int_equal(f->reply_len, sizeof(struct fuse_out_header));
    read_reply(f);
    assert_int_equal(init_reply(f).flags2 & ALL, ALL);
    read_reply(f);
    assert_int_equal(f->reply_len, 0);
    receive(f);
    process(f);
    read_reply(f);
    assert_attributes(f, UNIQUE + 4);
}

static void device_that_ends_or_fails(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write(f->kernel_fd, "short", 5), 5);
    assert_true(device_negotiate(f->fuse, NULL) < 0);
    read_reply(f);
    assert_int_equal(f->reply_len, 0);
    assert_int_equal(shutdown(f->kernel_fd, SHUT_WR), 0);
    assert_true(device_negotiate(f->fuse, NULL) < 0);
    assert_true(fuse_session_receive_buf(f->fuse, &f->buf) <= 0);
}

/* The descriptor of the session is the device again, and no other is left open. */
static void descriptors_are_closed(void **state)
{
    struct fixture *f = *state;
    int lowest = dup(f->kernel_fd), now;

    close(lowest);
    init(f, FUSE_INIT_EXT, ALL);
    now = dup(f->kernel_fd);
    close(now);
    assert_int_equal(now, lowest);
    assert_true((fcntl(fuse_session_fd(f->fuse), F_GETFD) & FD_CLOEXEC) != 0);
}

static void invalid_descriptor_stays_the_callers(void **state)
{
    struct fixture *f = *state;

    assert_true(device_attach(f->fuse, -1) < 0);
    assert_int_equal(init(f, FUSE_INIT_EXT, ALL).flags2 & ALL, ALL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_offered_is_taken),
        TEST(an_offer_to_send_again_is_found),
        TEST(older_kernels_do_not_offer_to_send_again),
        TEST(without_a_clone),
        TEST(each_is_taken_alone),
        TEST(idmap_is_offered_or_not),
        TEST(handles_are_not_decoded),
        TEST(the_other_is_taken_alone),
        TEST(what_is_not_offered_is_not_taken),
        TEST(other_flags_are_left_to_libfuse),
        TEST(no_extended_flags),
        TEST(short_request),
        TEST(short_replies_of_older_kernels),
        TEST(reply_with_an_error),
        TEST(other_replies_are_left_alone),
        TEST(notifications_are_left_alone),
        TEST(requests_around_init),
        TEST(device_that_ends_or_fails),
        TEST(descriptors_are_closed),
        TEST(invalid_descriptor_stays_the_callers),
    };

    return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
