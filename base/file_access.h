/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Calls that look at files which an administrator names: credentials, manifests, definitions of
 * volumes. They may belong to any user, which takes a capability; see privileged_retry().
 *
 * Paths are relative to @dir_fd, which may be AT_FDCWD. Thread: the event loop's.
 */
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Open for reading, close-on-exec. @flags: of openat(2). Return: a descriptor; -errno. */
int file_access_open(int dir_fd, const char *path, int flags);

/* @flags: of fstatat(2). Return: 0; -errno. */
int file_access_stat(int dir_fd, const char *path, int flags, struct stat *ret_status);

/* Return: the length of the target, at most @size; -errno. */
int file_access_read_link(const char *path, char *ret_target, size_t size);

/* @mask: of inotify_add_watch(2). Return: a watch descriptor; -errno. */
int file_access_watch(int inotify_fd, const char *path, uint32_t mask);
