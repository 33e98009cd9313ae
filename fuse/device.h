/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The FUSE device of a libfuse session, and the first request on it (INIT), with which kernel and
 * daemon agree on features; see device.c.
 *
 * Thread: before the workers are started.
 */
#include <fuse_lowlevel.h>

/*
 * @fd_consumed: the device; closed with @fuse
 * Return: 0; -EBADF or -ENOMEM, then @fd_consumed is the caller's.
 */
int device_attach(struct fuse_session *fuse, int fd_consumed);

/*
 * Answer INIT, which the kernel sends when the file system is mounted, and what comes before it.
 * Return: 0; -EPROTO when libfuse does not accept the kernel's protocol; -ENODEV when the
 * connection has ended; -errno of the device or of what it takes.
 */
int device_negotiate(struct fuse_session *fuse);

/*
 * Trace a request, if the category "fuse" is on.
 * @request: begins with a struct fuse_in_header
 * Thread: any.
 */
void device_trace_request(const void *request);
/* Have replies and notifications traced from now on, if the category is on and libfuse allows. */
void device_trace_replies(struct fuse_session *fuse);
