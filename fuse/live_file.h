/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Live files: files of the tree whose content changes while their inode stays, and the open files
 * that keep the version that they were opened with.
 *
 * Thread: any; the tree's lock keeps each call whole.
 */
#include "base/clock.h"
#include "fuse/tree.h"

/* An open file of a live file. */
struct live_open;

/*
 * Open a file.
 * @thread: the reader's thread id, 0 if the kernel cannot name it: it is in a pid namespace that
 * the daemon does not see
 * @may_wait: false for the publisher, which opens files during a switch
 * Return: 0, live_file_close() ends it: *ret_open is the caller's, or NULL for an immutable file,
 * which is read through the kernel's pages; -EAGAIN during a switch, try again at its end; -ESTALE,
 * -EISDIR, -EINVAL; -ENOMEM.
 */
int live_file_open(struct tree *tree, uint64_t id, pid_t thread, bool may_wait,
                   struct live_open **ret_open);
/* @open: NULL for an immutable file */
void live_file_close(struct tree *tree, uint64_t id, struct live_open *open);

/*
 * Close all that are open: no session serves the tree any more, so the kernel closes none. Nothing
 * else may use the live files after that.
 */
void live_file_close_all(struct tree *tree);

/*
 * A descriptor of @open is closed: if the thread has another open file of the node,
 * live_file_stat() finds that one from now on. The kernel sends a release only some time after
 * close(2) has returned, and another worker may answer the thread's next fstat(2) before it.
 */
void live_file_flush(struct tree *tree, struct live_open *open);
/*
 * Whether live_file_flush() has to be called for it: its thread may have an older version
 * open. Never for the publisher's: when the process dies it would wait for its own answer.
 */
bool live_open_needs_flush(const struct live_open *open);

/*
 * The bytes from @offset on, at most @size.
 * Return: 0, *ret_part has them, with a reference to the object; -ESTALE: its readers held too much
 * (held.h).
 */
int live_file_read(struct tree *tree, uint64_t id, struct live_open *open, size_t offset,
                   size_t size, struct file_content *ret_part);

/*
 * The content of a live file is about to change: charge the volume for the open files that keep it.
 * The table's lock is held.
 * @volume: node id of its directory
 */
struct node;
void live_file_outdate(struct node_table *t, struct node *file, uint64_t volume);
/* A newer object has the same content: open files need not keep the older one. */
void live_file_refresh(struct node *file, const struct file_content *same);

/* Whether this open has the kernel drop the inode's pages: it is the first after a change. */
bool live_open_drops_pages(const struct live_open *open);

/*
 * The kernel requested pages of the inode through it, as for a mapping: from now on it shows the
 * newest content, and live_file_stat() does not find it.
 */
void live_open_note_pages(struct live_open *open);

/* Give a file the size and times of the version that is open. */
void live_open_stat(const struct live_open *open, struct stat *stat);
/*
 * The same for fstat(2), which does not say which of a node's open files it is about: the newest of
 * that thread, until it is closed. Without one @stat is unchanged.
 * @stat: of the node, by its st_ino
 * Return: whether it is an older version's.
 */
bool live_file_stat(struct tree *tree, pid_t thread, struct stat *stat);

/* Whether the kernel may keep the attributes of a node: no older version of it is open, and none
 * is about to become old. */
bool live_file_is_settled(struct tree *tree, uint64_t id);

/* Whether a file is live, or the first file below a directory. */
bool live_file_is_live(struct tree *tree, uint64_t id);
/*
 * Make a file live, or all files below a directory.
 * Return: 0; -ENOMEM, then some may be live; -ESTALE.
 */
int live_file_make(struct tree *tree, uint64_t id);
