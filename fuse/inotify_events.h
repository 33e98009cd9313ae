/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Events for the watchers of files whose content was changed without a system call.
 *
 * Thread: the publisher's.
 */

/*
 * Have the watchers of a file, and those of the directory that it was opened in, see MODIFY and
 * CLOSE_WRITE: the file is set to the size that it has.
 * @fd_consumed: open for writing; or negative, then the file is gone and nothing is done
 */
void inotify_raise_modify(int fd_consumed);
