/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A file system of a node: its mount in the run directory, the tree that it serves and the
 * publisher that writes it. Volumes are directories in it.
 *
 * Thread: the event loop's.
 */
#include "fuse/publisher.h"

struct file_system_options {
    const char *mountpoint;        /* absolute; copied */
    const char *source;            /* what mountinfo shows as the source of its mounts */
    bool answers_open;             /* files may be live; see fuse/live_file.h */
    struct mount_monitor *monitor; /* borrowed */
};

/* The FUSE connection is gone, so the file system cannot be mounted again. Must not free it. */
typedef void file_system_failed_fn(void *userdata, const struct error *e);

/* Members are read-only for callers. */
struct file_system {
    char *mountpoint;
    struct tree *tree;
    struct session *session;
    struct publisher *publisher;
    file_system_failed_fn *failed;
    void *userdata;
};

/* Create, mount and serve it. Return: 0, *ret_fs is the caller's; -errno with @e. */
int file_system_new(sd_event *event, const struct file_system_options *options,
                    file_system_failed_fn *failed, void *userdata, struct file_system **ret_fs,
                    struct error *e);
/* All volumes must have been removed. At the end of the process: see publisher_free(). Return:
 * NULL.
 */
struct file_system *file_system_free(struct file_system *fs);
DEFINE_CLEANUP(struct file_system *, file_system_free)
