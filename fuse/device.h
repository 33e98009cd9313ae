/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The FUSE device of a libfuse session, and the first request on it (INIT), with which kernel and
 * daemon agree on features; see device.c.
 *
 * Thread: before the workers are started.
 */
#include <stdbool.h>
#include <stdint.h>

#include <fuse_lowlevel.h>

/* The kernel's INIT request. One of protocol 7.36 has 104 bytes. */
#define DEVICE_INIT_MAX_BYTES 512u
struct device_init {
    size_t len;
    _Alignas(uint64_t) uint8_t bytes[DEVICE_INIT_MAX_BYTES];
};

/*
 * @fd_consumed: the device; closed with @fuse
 * Return: 0; -EBADF or -ENOMEM, then @fd_consumed is the caller's.
 */
int device_attach(struct fuse_session *fuse, int fd_consumed);

/*
 * Answer INIT, which the kernel sends when the file system is mounted, and what comes before it.
 * Return: 0; -EPROTO when libfuse does not accept the kernel's protocol; -ENODEV when the
 * connection has ended; -errno of the device or of what it takes.
 * @ret_init: the request, for device_replay() of a later process; NULL: not wanted
 */
int device_negotiate(struct fuse_session *fuse, struct device_init *ret_init);

/*
 * Whether containers with user namespaces can mount the file system: the kernel has
 * FUSE_ALLOW_IDMAP (Linux 6.12, or a backport).
 */
bool device_init_offers_idmap(const struct device_init *init);

/*
 * Instead of device_negotiate(), with a device that another process has served: have libfuse
 * process the kernel's INIT again, without a reply. Return: as above.
 */
int device_replay(struct fuse_session *fuse, const struct device_init *init);

/*
 * Allocate the memory that libfuse reads requests into, which it would do at the first read: a
 * worker that lacked memory then would end the session. After INIT.
 * @ret_request: its mem is the caller's, to be freed
 * Return: 0; -ENOMEM; -errno.
 */
int device_allocate(struct fuse_session *fuse, struct fuse_buf *ret_request);

/* Whether the kernel can send requests again, as device_resend() asks for (Linux 6.9). */
bool device_init_offers_resend(const struct device_init *init);

/*
 * Have libfuse read and write a clone of its device from now on. With the last descriptor of the
 * clone the kernel ends what was taken from it with ECONNABORTED, while the device keeps the mount.
 * A read of the clone does not block. After INIT.
 * @ret_device_fd: the device, the caller's
 * Return: 0; -errno of open(2) and ioctl(2), then libfuse uses the device.
 */
int device_work_on_clone(struct fuse_session *fuse, int *ret_device_fd);

/*
 * Have the kernel send the requests again that the earlier process has taken and not answered.
 * Return: 0; -EINVAL: this kernel cannot (before Linux 6.9); -errno.
 */
int device_resend(struct fuse_session *fuse);
/* Whether a request is sent again. @request: as below. Thread: any. */
bool device_is_resent(const void *request);
/* The number of a request, the same when it is sent again. Thread: any. */
uint64_t device_unique(const void *request);

/*
 * Trace a request, if the category "fuse" is on.
 * @request: begins with a struct fuse_in_header
 * Thread: any.
 */
void device_trace_request(const void *request);
/* Have replies and notifications traced from now on, if the category is on and libfuse allows. */
void device_trace_replies(struct fuse_session *fuse);
