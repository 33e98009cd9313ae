/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Telling those who watch files and directories that have been replaced by others.
 *
 * Thread: the publisher's.
 */
#include "fuse/tree.h"

/*
 * Let those who watch a file, or the directory that it was opened in, see MODIFY and CLOSE_WRITE;
 * its content stays as it is.
 * @fd_consumed: open for writing; or negative, then the file is gone and nothing is to be done
 */
void tell_file(int fd_consumed);

/*
 * Let those who watch an old directory, or one below it, see what has changed: MODIFY and
 * CLOSE_WRITE of files with other content, CREATE and DELETE of what is new and gone. It has the
 * names of the new one afterwards; files that are in both keep their content.
 * @dir_fd: of the directory, in the writable view (O_PATH)
 * @dir_id: the same directory's node id
 * @shown_id, @new_id: of the directories that were shown in its place until now, and are from now
 * on
 */
void tell_directory(struct tree *tree, int dir_fd, uint64_t dir_id, uint64_t shown_id,
                    uint64_t new_id);
