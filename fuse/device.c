/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INIT with features that libfuse does not know.
 *
 * libfuse answers INIT itself, and has no way to add a flag to its reply. So while it processes
 * INIT, its descriptor is one end of a socket pair:
 *
 *  1. libfuse receives INIT from the device.
 *  2. dup3(2) replaces the session's descriptor by one end of the pair.
 *  3. libfuse processes INIT and writes its reply there.
 *  4. dup3(2) puts the device back.
 *  5. The flags are added to the reply, which is written to the device.
 *
 * The kernel sends no other request before INIT is answered, and no worker runs yet, so no other
 * thread uses the descriptor. fuse_session_custom_io() would do with less, but libfuse
 * 3.18.3 returns ENOTSUP from it unless it was built with -Denable-custom-io. So it is only used to
 * trace replies.
 *
 * A process that takes a mount over from another one has the kernel's INIT from the state. libfuse
 * processes it in the same way, so that it knows the connection, and its reply goes nowhere: the
 * kernel has one already.
 *
 * A clone of the device (FUSE_DEV_IOC_CLONE, Linux 4.2) is a second open file of the same
 * connection. The kernel keeps what was read from a clone, and not answered, in a list of the
 * clone. When the clone is closed, it ends these requests with ECONNABORTED; the connection ends
 * with the last open file alone (fuse_dev_release() in its fs/fuse/dev.c). An answer has to be
 * written to the clone that the request was read from.
 */
#include "fuse/device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fuse/request_counts.h"

/* Source: the kernel's include/uapi/linux/fuse.h, as of the given version. */
/* Linux 6.6: shared mappings of live files */
#define INIT_DIRECT_IO_ALLOW_MMAP (UINT64_C(1) << 36)
/*
 * Linux 6.9: open_by_handle_at(2) fails with ESTALE. Without it the kernel opens what it has cached
 * by node id and generation, also the root, which is above all volumes.
 */
#define INIT_NO_EXPORT_SUPPORT    (UINT64_C(1) << 38)
/* Linux 6.9: see NOTIFY_RESEND; the kernel's offer needs no answer */
#define INIT_HAS_RESEND           (UINT64_C(1) << 39)
/* Linux 6.12: pods with user namespaces */
#define INIT_ALLOW_IDMAP          (UINT64_C(1) << 40)
#define INIT_WANTED               (INIT_DIRECT_IO_ALLOW_MMAP | INIT_NO_EXPORT_SUPPORT | INIT_ALLOW_IDMAP)

/* Linux 6.9: requests that a process has taken and not answered are sent again */
#define NOTIFY_RESEND 7
#define UNIQUE_RESENT (UINT64_C(1) << 63)

/* A reply to INIT has 80 bytes, an error 16. */
#define REPLY_MAX_BYTES 512

/* ---- tracing */

/* Names and content follow the headers and stay out of the trace. */
void device_trace_request(const void *request)
{
    const struct fuse_in_header *header = request;

    log_trace(LOG_TRACE_FUSE, "request", "unique", LOG_NUM(header->unique), "kind",
              request_kind_name(header->opcode), "node", LOG_NUM(header->nodeid), "pid",
              LOG_NUM(header->pid));
}

static void trace_reply(const struct fuse_out_header *header)
{
    if (header->unique == 0) /* then the error is an enum fuse_notify_code */
        log_trace(LOG_TRACE_FUSE, "notification", "code", LOG_NUM(header->error), "bytes",
                  LOG_NUM(header->len));
    else
        log_trace(LOG_TRACE_FUSE, "reply", "unique", LOG_NUM(header->unique), "error",
                  header->error != 0 ? strerror(-header->error) : NULL, "bytes",
                  LOG_NUM(header->len));
}

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
    return read(fd, buf, len);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    trace_reply(iov[0].iov_base);
    return writev(fd, iov, count);
}

void device_trace_replies(struct fuse_session *fuse)
{
    static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};
    int r;

    if (!log_trace_is_on(LOG_TRACE_FUSE))
        return;
    r = fuse_session_custom_io(fuse, &io, fuse_session_fd(fuse));
    if (r < 0)
        log_debug("libfuse does not let replies be traced", "reason", strerror(-r));
}

/* ---- INIT */

struct negotiation {
    struct fuse_session *fuse;
    struct fuse_buf request;
    struct device_init *init; /* the request that was accepted; NULL: not wanted */
    int device_fd;
    int libfuse_end_fd; /* what libfuse writes to it, */
    int our_end_fd;     /* comes out here */
};

static void negotiation_deinit(struct negotiation *n)
{
    free(n->request.mem);
    fd_close(n->device_fd);
    fd_close(n->libfuse_end_fd);
    fd_close(n->our_end_fd);
}

static int negotiation_init(struct negotiation *n, struct fuse_session *fuse)
{
    int ends[2];

    *n =
        (struct negotiation){.fuse = fuse, .device_fd = -1, .libfuse_end_fd = -1, .our_end_fd = -1};
    /*
     * Not by F_DUPFD_CLOEXEC, which ThreadSanitizer does not follow: it would not know any more
     * that a request that a worker reads comes after the replies that others have written.
     */
    n->device_fd = eventfd(0, EFD_CLOEXEC);
    if (n->device_fd < 0 || dup3(fuse_session_fd(fuse), n->device_fd, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return negative_errno();
    n->libfuse_end_fd = ends[0];
    n->our_end_fd = ends[1];
    return 0;
}

/* Return: the flags that a request offers; 0 if it is not INIT, or one of an old kernel. */
static uint64_t flags_of(const void *request, size_t len)
{
    const struct fuse_in_header *header = request;
    const struct fuse_init_in *in = (const void *)(header + 1);

    if (len < sizeof(*header) + sizeof(*in) || header->opcode != FUSE_INIT ||
        (in->flags & FUSE_INIT_EXT) == 0)
        return 0;
    return in->flags | (uint64_t)in->flags2 << 32;
}

bool device_init_offers_resend(const struct device_init *init)
{
    return (flags_of(init->bytes, init->len) & INIT_HAS_RESEND) != 0;
}

bool device_init_offers_idmap(const struct device_init *init)
{
    return (flags_of(init->bytes, init->len) & INIT_ALLOW_IDMAP) != 0;
}

/* @reply: to INIT, without an error */
static void add_flags(uint8_t *reply, size_t len, uint64_t wanted)
{
    struct fuse_init_out out;

    if (wanted == 0 || len < sizeof(struct fuse_out_header) + sizeof(out))
        return;
    memcpy(&out, reply + sizeof(struct fuse_out_header), sizeof(out));
    out.flags |= FUSE_INIT_EXT;
    out.flags2 |= (uint32_t)(wanted >> 32);
    memcpy(reply + sizeof(struct fuse_out_header), &out, sizeof(out));
}

/*
 * Has libfuse process the request.
 * Return: the length of its reply, 0 if there is none; -errno.
 */
static ssize_t process(struct negotiation *n, uint8_t *reply)
{
    int fd = fuse_session_fd(n->fuse);
    ssize_t len;

    if (dup3(n->libfuse_end_fd, fd, O_CLOEXEC) < 0)
        return negative_errno();
    fuse_session_process_buf(n->fuse, &n->request);
    if (dup3(n->device_fd, fd, O_CLOEXEC) < 0)
        return negative_errno();
    len = recv(n->our_end_fd, reply, REPLY_MAX_BYTES, MSG_DONTWAIT);
    if (len < 0 && errno != EAGAIN)
        return negative_errno();
    return len < 0 ? 0 : len;
}

/* A request that is too long is not kept: no kernel sends one. */
static void keep(struct device_init *init, const struct fuse_buf *request)
{
    if (init == NULL || request->size > sizeof(init->bytes))
        return;
    memcpy(init->bytes, request->mem, request->size);
    init->len = request->size;
}

enum handled {
    NOT_INIT = 1, /* the request was another one, or none */
};

/* Handle one request. Return: 0 when INIT was accepted; enum handled; -errno. */
static int handle_request(struct negotiation *n)
{
    const struct fuse_out_header *out;
    _Alignas(struct fuse_out_header) uint8_t reply[REPLY_MAX_BYTES];
    ssize_t len = fuse_session_receive_buf(n->fuse, &n->request);
    bool is_init;

    if (len <= 0)
        return len == 0 ? -ENODEV : len == -EINTR ? NOT_INIT : (int)len;
    device_trace_request(n->request.mem);
    is_init = ((const struct fuse_in_header *)n->request.mem)->opcode == FUSE_INIT;
    len = process(n, reply);
    if (len < (ssize_t)sizeof(*out))
        return len < 0 ? (int)len : is_init ? -EPROTO : NOT_INIT;
    out = (const void *)reply;
    trace_reply(out);
    if (is_init && out->error == 0) {
        add_flags(reply, (size_t)len, flags_of(n->request.mem, n->request.size) & INIT_WANTED);
        keep(n->init, &n->request);
    }
    if (write(n->device_fd, reply, (size_t)len) != len)
        return negative_errno();
    if (!is_init)
        return NOT_INIT;
    return out->error == 0 ? 0 : -EPROTO;
}

int device_attach(struct fuse_session *fuse, int fd_consumed)
{
    char name[32];

    if (fd_consumed < 0)
        return -EBADF;
    /* libfuse's name for a device that is open already; nothing is mounted */
    snprintf(name, sizeof(name), "/dev/fd/%d", fd_consumed);
    return fuse_session_mount(fuse, name) < 0 ? -ENOMEM : 0;
}

int device_negotiate(struct fuse_session *fuse, struct device_init *ret_init)
{
    _cleanup_(negotiation_deinit) struct negotiation n = {0};
    int r = negotiation_init(&n, fuse);

    if (r < 0)
        return r;
    n.init = ret_init;
    do
        r = handle_request(&n);
    while (r == NOT_INIT);
    return r;
}

int device_replay(struct fuse_session *fuse, const struct device_init *init)
{
    _cleanup_(negotiation_deinit) struct negotiation n = {0};
    _Alignas(struct fuse_out_header) uint8_t reply[REPLY_MAX_BYTES];
    int r = negotiation_init(&n, fuse);
    ssize_t len;

    if (r < 0)
        return r;
    if (init->len < sizeof(struct fuse_in_header) + sizeof(struct fuse_init_in) ||
        init->len > sizeof(init->bytes))
        return -EPROTO;
    n.request.mem = malloc(init->len);
    if (n.request.mem == NULL)
        return -ENOMEM;
    memcpy(n.request.mem, init->bytes, init->len);
    n.request.size = init->len;
    len = process(&n, reply);
    if (len < 0)
        return (int)len;
    return len >= (ssize_t)sizeof(struct fuse_out_header) &&
                   ((const struct fuse_out_header *)(const void *)reply)->error == 0
               ? 0
               : -EPROTO;
}

/* libfuse does not tell the size, so it reads from a socket that has no data. */
int device_allocate(struct fuse_session *fuse, struct fuse_buf *ret_request)
{
    _cleanup_(negotiation_deinit) struct negotiation n = {0};
    int fd = fuse_session_fd(fuse);
    int r = negotiation_init(&n, fuse);

    if (r < 0)
        return r;
    if (fcntl(n.libfuse_end_fd, F_SETFL, O_NONBLOCK) < 0 ||
        dup3(n.libfuse_end_fd, fd, O_CLOEXEC) < 0)
        return negative_errno();
    fuse_session_receive_buf(fuse, &n.request);
    if (dup3(n.device_fd, fd, O_CLOEXEC) < 0)
        return negative_errno();
    if (n.request.mem == NULL)
        return -ENOMEM;
    *ret_request = n.request;
    n.request.mem = NULL;
    return 0;
}

/* Not blocking, unlike the device: see receive_from_clone() in session.c. */
static int make_clone(int device_fd, int *ret_clone_fd)
{
    _cleanup_(fd_closep) int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    uint32_t number = (uint32_t)device_fd;

    if (fd < 0 || ioctl(fd, FUSE_DEV_IOC_CLONE, &number) < 0)
        return negative_errno();
    *ret_clone_fd = TAKE_FD(fd);
    return 0;
}

int device_work_on_clone(struct fuse_session *fuse, int *ret_device_fd)
{
    _cleanup_(fd_closep) int clone_fd = -1, device_fd = eventfd(0, EFD_CLOEXEC);
    int fd = fuse_session_fd(fuse);
    int r = make_clone(fd, &clone_fd);

    if (r < 0)
        return r;
    if (device_fd < 0 || dup3(fd, device_fd, O_CLOEXEC) < 0 || dup3(clone_fd, fd, O_CLOEXEC) < 0)
        return negative_errno();
    *ret_device_fd = TAKE_FD(device_fd);
    return 0;
}

int device_resend(struct fuse_session *fuse)
{
    const struct fuse_out_header resend = {.len = sizeof(resend), .error = NOTIFY_RESEND};

    return write(fuse_session_fd(fuse), &resend, sizeof(resend)) < 0 ? negative_errno() : 0;
}

bool device_is_resent(const void *request)
{
    const struct fuse_in_header *header = request;

    return (header->unique & UNIQUE_RESENT) != 0;
}

uint64_t device_unique(const void *request)
{
    const struct fuse_in_header *header = request;

    return header->unique & ~UNIQUE_RESENT;
}
