/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Read a configuration file as a whole. file_read() does so while no process writes it, and
 * remembers its status to recognize the next change.
 *
 * Thread: any; the process has no handler for SIGURG.
 */
#include <sys/stat.h>

#include "base/buf.h"
#include "base/error.h"

/* The status of a file when it was read. */
struct file_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
    struct timespec ctime;
    /* The last change was so recent that the next one could leave the same times. */
    bool is_recent;
};

/* Whether a file with status @now has surely the content that was read with @stamp. */
bool file_stamp_holds(const struct file_stamp *stamp, const struct stat *now);

/*
 * Read a file of at most @buf's limit, unless a process writes it.
 * @name:             relative to @dir_fd
 * @may_be_written:   inotify reported a write without a close; decides where the kernel gives no
 *                    leases (missing right, or a file system without them)
 * @buf, @ret_stamp:  changed on success only
 * Return: 0; FILE_READ_BUSY while a process has the file open for writing; FILE_READ_OTHER if it is
 * not a regular file; -errno with @e, -EFBIG beyond the limit.
 */
#define FILE_READ_BUSY  1
#define FILE_READ_OTHER 2
int file_read(int dir_fd, const char *name, bool may_be_written, struct buf *buf,
              struct file_stamp *ret_stamp, struct error *e);

/*
 * Read a file that a user names (options, credentials), of at most @buf's limit. FIFOs, sockets and
 * devices are refused, since a process could wait for them for ever; /dev/null is an empty file.
 * @path: relative to the working directory
 * @buf:  is appended to
 * Return: 0; -EISDIR for a directory, -EINVAL for another file that is not regular; -EFBIG beyond
 * the limit; -errno; with @e.
 */
int file_load(const char *path, struct buf *buf, struct error *e);
