/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Events for watchers of files whose content changed without a system call.
 *
 * Thread: the publisher's.
 */

/*
 * Raise MODIFY and CLOSE_WRITE for the watchers of a file and of the directory that it was opened
 * in: the file is truncated to the size that it has.
 * @fd_consumed: open for writing; negative when the file is gone, then nothing is raised
 */
void inotify_raise_modify(int fd_consumed);
