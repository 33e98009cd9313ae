/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Who opens files of the file systems on which volumes are, by fanotify(7): in every mount and
 * mount namespace, of secretfs and of the kubelet. It takes root's rights, and Linux 5.15.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "consumers/identity.h"

/* That wait until it is known which file they are of; a burst beyond it is counted. */
#define OPENS_PENDING_MAX 1024u
/* Processes that have written files, as the kubelet does. */
#define OPENS_WRITERS_MAX 16u

struct opened {
    struct consumer_identity identity;
    dev_t device;
    ino_t inode;
    mono_us at;
    struct timespec time;
};

struct opens {
    int fd; /* -1: opens are not seen */
    pid_t writers[OPENS_WRITERS_MAX];
    size_t n_writers;
    struct opened pending[OPENS_PENDING_MAX];
    size_t n_pending;
    bool has_lost; /* some since it was set to false */
};

/* Return: 0; -errno with @e: opens cannot be seen. opens_deinit() follows both. */
int opens_init(struct opens *opens, struct error *e);
void opens_deinit(struct opens *opens);

/* Report opens of the file system on which @path is. Return: 0; -errno with @e. */
int opens_add(struct opens *opens, const char *path, struct error *e);

/* Move what the kernel has queued to opens->pending, but for opens of this process. */
void opens_read(struct opens *opens);

/* Whether a process has written files of one of the file systems, as the kubelet does. */
bool opens_is_writer(const struct opens *opens, pid_t pid);
