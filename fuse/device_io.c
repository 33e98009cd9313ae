/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/device_io.h"

#include <errno.h>
#include <linux/fuse.h>
#include <sys/uio.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "fuse/request_counts.h"

/* Source: the kernel's include/uapi/linux/fuse.h, as of the given version. */
#define INIT_DIRECT_IO_ALLOW_MMAP                                                                  \
    (UINT64_C(1) << 36)                      /* Linux 6.6: shared mappings of live files           \
                                              */
#define INIT_ALLOW_IDMAP (UINT64_C(1) << 40) /* Linux 6.12: pods with user namespaces */
#define INIT_WANTED      (INIT_DIRECT_IO_ALLOW_MMAP | INIT_ALLOW_IDMAP)

static void note_init(struct device_io *io, const struct fuse_in_header *header, size_t len)
{
    const struct fuse_init_in *in = (const void *)(header + 1);

    assert(len >= sizeof(*header));
    io->init_unique = header->unique;
    io->offered = 0;
    if (len >= sizeof(*header) + sizeof(*in) && (in->flags & FUSE_INIT_EXT) != 0)
        io->offered = (in->flags | (uint64_t)in->flags2 << 32) & INIT_WANTED;
}

/* Names and content follow the headers and stay out of the trace. */
static void trace_request(const struct fuse_in_header *header)
{
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
    const struct fuse_in_header *header = buf;
    ssize_t n = read(fd, buf, len);

    if (n >= (ssize_t)sizeof(*header)) {
        trace_request(header);
        if (header->opcode == FUSE_INIT)
            note_init(userdata, header, (size_t)n);
    }
    return n;
}

/* The reply to INIT, with the flags that we want and the kernel offers. */
static ssize_t write_init(int fd, const struct iovec *iov, uint64_t wanted)
{
    struct fuse_init_out out = {0};
    struct iovec parts[2] = {iov[0], {.iov_base = &out, .iov_len = iov[1].iov_len}};

    if (iov[1].iov_len > sizeof(out))
        return writev(fd, iov, 2); /* of a libfuse newer than all that are known */
    memcpy(&out, iov[1].iov_base, iov[1].iov_len);
    if (wanted != 0)
        out.flags |= FUSE_INIT_EXT;
    out.flags2 |= (uint32_t)(wanted >> 32);
    return writev(fd, parts, 2);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
    struct device_io *io = userdata;
    const struct fuse_out_header *header = iov[0].iov_base;

    trace_reply(header);
    if (io->init_unique == 0 || header->unique != io->init_unique)
        return writev(fd, iov, count);
    io->init_unique = 0;
    if (header->error != 0 || count != 2)
        return writev(fd, iov, count);
    return write_init(fd, iov, io->offered);
}

int device_io_attach(struct fuse_session *fuse, int fd_consumed)
{
    static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};

    return fuse_session_custom_io(fuse, &io, fd_consumed);
}
