/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The root of a mount, as mountinfo has it: which part of which volume is mounted. Pure. */
#include <stdbool.h>
#include <stdint.h>

/* Where live files and directories are linked once they are taken out of their generation. Volumes
 * have no names that begin with a dot. */
#define LIVE_DIRECTORY ".live"

/* Its texts are pieces of the one that was parsed. */
struct mount_root {
    const char *volume;     /* path of the volume's directory; "." for the root */
    const char *generation; /* name of the directory; NULL in LIVE_DIRECTORY */
    const char *path;       /* in the generation; "" for all of it */
    uint64_t live_id;       /* in LIVE_DIRECTORY; else 0 */
    bool is_deleted;        /* it had no name any more */
};

/* @text: from mountinfo; is cut into pieces. Return: whether it is part of a volume. */
bool mount_root_parse(char *text, struct mount_root *ret_root);

/* The same of a path from the root of the file system, with a generation. */
bool mount_root_parse_path(char *text, struct mount_root *ret_root);
