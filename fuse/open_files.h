/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Open files of live files, each with the version that it was opened with.
 *
 * Thread: any.
 */
#include <pthread.h>

#include "base/list.h"
#include "fuse/live_file.h"

/* Embedded. */
struct open_files {
    struct tree *tree;
    pthread_mutex_t lock;
    struct list unread; /* the oldest first */
    size_t n_unread;
};

struct open_file;

/* @tree: borrowed, outlives the open files */
void open_files_init(struct open_files *files, struct tree *tree);
/* Open files that the kernel did not live to release are lost. */
void open_files_deinit(struct open_files *files);

/*
 * @thread: the reader's thread id, 0 if it is in a pid namespace that the kernel cannot name it in
 * Return: 0, *ret_file is the caller's for open_file_close(), or NULL for an immutable file, see
 * live_file_open(); what that returns; -ENOMEM.
 */
int open_file_new(struct open_files *files, uint64_t node_id, pid_t thread,
                  struct open_file **ret_file);
/* @file: NULL for an immutable file */
void open_file_close(struct open_files *files, uint64_t node_id, struct open_file *file);

/* The bytes from @offset on, at most @size; borrowed until it is closed. Return: how many. */
size_t open_file_read(struct open_files *files, struct open_file *file, size_t offset, size_t size,
                      const uint8_t **ret_bytes);

/*
 * fstat(2) does not say which descriptor it is asked for. As long as a thread has not read what it
 * has opened to the end, it is answered with that file's size.
 * Return: whether @stat was changed.
 */
bool open_files_stat(struct open_files *files, pid_t thread, struct stat *stat);
