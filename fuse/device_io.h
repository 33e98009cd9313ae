/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Reads requests from the FUSE device and writes replies to it, in libfuse's place: libfuse 3.14
 * does not know all flags that a newer kernel offers when a connection begins (INIT).
 *
 * Thread: the workers'.
 */
#include <fuse_lowlevel.h>

/* Embedded, and the first member of the session's userdata. */
struct device_io {
    uint64_t init_unique; /* of the INIT request; 0 before it and after its reply */
    uint64_t offered;     /* what it offers of device_io.c's extra flags */
};

/*
 * @fd_consumed: the device; closed with @fuse. With what libfuse has mounted itself: its own.
 * Return: 0; -errno, then @fd_consumed is the caller's.
 */
int device_io_attach(struct fuse_session *fuse, int fd_consumed);
