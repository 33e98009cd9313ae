/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Followers: files and directories of a volume that somebody mounted alone (subPath, `docker -v`,
 * `mount --bind`), in whatever mount namespace. They are kept showing the newest content.
 *
 * Thread: the publisher's.
 */
#include "base/clock.h"
#include "fuse/session.h"

struct followers;

/* @session, @tree: borrowed, outlive the followers. Return: 0, *ret_followers is the caller's;
 * -ENOMEM. */
int followers_new(struct session *session, struct tree *tree, struct followers **ret_followers);
/* What is mounted stays as it is. Return: NULL. */
struct followers *followers_free(struct followers *followers);

/*
 * Find out what is mounted where. This reads about every process, so it is not done more often than
 * costs a tenth of the time.
 * @is_thorough: also if the kernel says that nobody has mounted anything since the last time, which
 * tells nothing of namespaces that could not be seen then
 * Return: 0; -errno, then nothing that was known is forgotten.
 */
int followers_scan(struct followers *followers, bool is_thorough);
/* When the last scan began; 0 before the first. */
mono_us followers_scanned_at(const struct followers *followers);
/* From when on another one may be made. */
mono_us followers_next_scan(const struct followers *followers);

/*
 * Make the known followers show the current generations, and tell who watches them. To be called
 * while the generations that they show still are in the volume's directory, as directories have no
 * content afterwards.
 * @root_fd: of the writable view
 * @volume: path of the directory of the volume; NULL for all volumes
 * Return: whether a directory was replaced, in which readers may be on their way to a file.
 */
bool followers_update(struct followers *followers, int root_fd, const char *volume);

/* How many of a volume follow it, as of the last scan and update. */
size_t followers_count(const struct followers *followers, const char *volume);

/* What a mount shows of a volume, read off the root of the mount. */
struct follower_root {
    const char *volume;     /* path of the volume's directory, "." for the root */
    const char *generation; /* name of the directory */
    const char *path;       /* within it; "" for the generation as a whole */
    bool is_deleted;        /* what is mounted has no name any more */
};

/*
 * @root: as mountinfo has it; is cut into pieces, to which *ret_root points
 * Return: whether it is part of a generation.
 */
bool follower_root_parse(char *root, struct follower_root *ret_root);
