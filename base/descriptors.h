/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A thread's own table of descriptors; a descriptor for another process. */
#include <stddef.h>

#include "base/util.h"

/*
 * Give the calling thread a descriptor table of its own with only @keep and the standard streams
 * in it. A thread that waits for this process's own FUSE mount must not have /dev/fuse open: else
 * it stays open while the thread waits, and SIGKILL cannot end the process. A terminal or a pipe
 * that the process has closed does not stay open here either; a log file does.
 * @keep: @n descriptors in increasing order, above standard error
 * Thread: any but the main one. Return: 0; -errno, unchanged.
 */
int descriptors_keep_own(const int *keep, size_t n);

/*
 * Send a text to a connected socket, with a descriptor beside it (SCM_RIGHTS).
 * @fd: -1: none
 * Thread: any. Return: 0; -errno of sendmsg(2).
 */
int descriptors_send(int socket_fd, const char *text, int fd) MUST_CHECK;
