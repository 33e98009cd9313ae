/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Reading /proc/PID/mountinfo, line by line. Thread: any. Source: proc_pid_mountinfo(5). */
#include <sys/types.h>

#include "base/util.h"

/* One mount. Texts are borrowed from the line; escapes in paths are decoded. */
struct mountinfo {
    uint64_t id;
    uint64_t parent_id;
    dev_t device;
    const char *root; /* the mounted part of the file system; ends in "//deleted" if unlinked */
    const char *mountpoint;
    const char *options; /* of the mount, comma-separated */
    bool is_shared;      /* mounts below it appear in other namespaces, too */
    const char *fs_type;
    const char *source;
    const char *super_options; /* of the file system, comma-separated */
};

/*
 * @line: is cut into fields, to which *ret_mount points; with or without the newline
 * Return: whether it is a valid line.
 */
bool mountinfo_parse(char *line, struct mountinfo *ret_mount);

/* Return: whether to continue. */
typedef bool mountinfo_visit_fn(void *userdata, const struct mountinfo *mount);

/*
 * Visit the mounts in their order: of those at one mount point the last is on top.
 * @path: of a mountinfo file, relative to @dir_fd as for openat(2)
 * Return: 0; -errno of opening or reading; -ENOMEM.
 */
int mountinfo_visit(int dir_fd, const char *path, mountinfo_visit_fn *visit, void *userdata);
