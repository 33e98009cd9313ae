/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The directory of one volume: the root of the mount, or a directory in it that is made for the
 * volume when it is published first.
 *
 * Thread: the publisher's.
 */
#include "fuse/session.h"

/* Embedded. */
struct volume_dir {
    struct session *session; /* borrowed */
    struct tree *tree;       /* borrowed */
    char *name;              /* "." for the root */
    uid_t uid;               /* of a directory that is made; set by the owner, as what follows */
    gid_t gid;
    mode_t mode;
    uint64_t id;     /* of its node; 0 before it is made */
    bool is_adopted; /* what an earlier process was doing has to be finished */
};

/* @name: copied. Return: 0 or -ENOMEM. */
int volume_dir_init(struct volume_dir *dir, struct session *session, struct tree *tree,
                    const char *name);
/* The directory itself stays. */
void volume_dir_deinit(struct volume_dir *dir);

/* The directory, open in the writable view. */
struct volume_dir_view {
    int root_fd; /* of the file system */
    int fd;      /* of the directory (O_PATH) */
};

/*
 * Open the directory, and make it if that has not happened yet.
 * Return: 0, volume_dir_close() is to follow; -EEXIST while another volume's directory of the name
 * has not been removed yet; -errno.
 */
int volume_dir_open(struct volume_dir *dir, struct volume_dir_view *ret_view);
void volume_dir_close(struct volume_dir *dir, struct volume_dir_view *view);

/* Find the directory of an earlier process. Return: 0; -ENOENT. */
int volume_dir_adopt(struct volume_dir *dir);

/* Of an adopted one, finish the update that it was killed in, once. Return: 0; -errno. */
int volume_dir_finish(struct volume_dir *dir);
/* Remove old generations. volume_dir_finish() has succeeded. Return: 0; -errno. */
int volume_dir_clean(struct volume_dir *dir);

/* Remove the directory with all that is in it, unless it is the root. Return: 0; -errno. */
int volume_dir_remove(struct volume_dir *dir);
