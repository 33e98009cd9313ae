/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Live files: files of the tree whose content changes while their inode stays, and the open files
 * that keep the version that they were opened with.
 *
 * Thread: any; the tree's lock keeps each call whole.
 */
#include "base/clock.h"
#include "fuse/open_table.h"
#include "fuse/tree.h"

struct node;
struct node_table;

/*
 * Open files of a volume, of all readers together. Each takes about 200 bytes of this process and
 * of the state for the next one, while a pod's limits count the kernel's part only.
 */
#define LIVE_OPENS_MAX 65536u

/* An open file of a file system that answers OPEN. */
struct live_open;

struct live_opener {
    uint64_t unique; /* of the OPEN request */
    pid_t thread;    /* the reader's thread id, 0 if the kernel cannot name it: it is in a pid
                        namespace that the daemon does not see */
    bool may_wait;   /* false for the publisher, which opens files during a switch */
};

/*
 * Open a file.
 * Return: 0, *ret_open is the tree's until live_file_close(); -EAGAIN during a switch, try again at
 * its end; -ENOENT: it was made for an update that has failed; -ESTALE, -EISDIR, -EINVAL; -ENOMEM;
 * -ENFILE: the volume has LIVE_OPENS_MAX.
 */
int live_file_open(struct tree *tree, uint64_t id, const struct live_opener *opener,
                   struct live_open **ret_open);
void live_file_close(struct tree *tree, struct live_open *open);

/* What a reader has opened. */
struct live_opened {
    struct tree_file file; /* borrowed for the call */
    pid_t thread;          /* as of live_opener */
};

/*
 * Have each open by a reader reported, before the kernel is answered, so while its thread waits in
 * open(2). The observer does not wait, and calls nothing of the tree, as its lock is held.
 * @opened: NULL: no longer; none is under way when it returns
 */
typedef void live_file_opened_fn(void *userdata, const struct live_opened *opened);
void live_file_observe(struct tree *tree, live_file_opened_fn *opened, void *userdata);

/* What the kernel has to know of an open file. */
struct live_open_info {
    uint64_t handle;
    bool is_cached; /* of an immutable file, which is read through the kernel's pages */
    /* The kernel drops the inode's pages: it is the first open after a change. */
    bool drops_pages;
    /* live_file_flush() has to be called for it: its thread may have an older version open. Never
     * of the publisher's: when the process dies it would wait for its own answer. */
    bool needs_flush;
};

struct live_open_info live_file_info(struct tree *tree, const struct live_open *open);
/* Return: borrowed until live_file_close(); NULL: there is none, or no more. */
struct live_open *live_file_find_open(struct tree *tree, uint64_t handle);
/* The same of a live file. Return: NULL: the file is immutable, too. */
struct live_open *live_file_find_version(struct tree *tree, uint64_t handle);
/* The one that an OPEN request of an earlier process has made. Return: as above. */
struct live_open *live_file_find_request(struct tree *tree, uint64_t unique);

/*
 * Free all that are open: no session of this process serves the tree any more, so the kernel closes
 * none. They stay in the state. Nothing else may use the live files after that.
 */
void live_file_close_all(struct tree *tree);
/* The same with the table's lock held, or before any other thread has the table. */
void live_file_free_opens(struct node_table *t);

/*
 * A descriptor of @open is closed: if the thread has another open file of the node,
 * live_file_stat() finds that one from now on. The kernel sends a release only some time after
 * close(2) has returned, and another worker may answer the thread's next fstat(2) before it.
 */
void live_file_flush(struct tree *tree, struct live_open *open);

/*
 * The bytes from @offset on, at most @size.
 * Return: 0, *ret_part has them, with a reference to the object; -ESTALE: its readers held too much
 * (held.h).
 */
int live_file_read(struct tree *tree, struct live_open *open, size_t offset, size_t size,
                   struct file_content *ret_part);

/*
 * The content of a live file is about to change: charge the volume for the open files that keep it.
 * The table's lock is held.
 * @volume: node id of its directory
 */
void live_file_outdate(struct node_table *t, struct node *file, uint64_t volume);
/* A newer object has the same content: open files need not keep the older one. */
void live_file_refresh(struct node *file, const struct file_content *same);

/*
 * The kernel requested pages of the inode through it, as for a mapping: from now on it shows the
 * newest content, and live_file_stat() does not find it.
 */
void live_file_note_pages(struct tree *tree, struct live_open *open);

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

/*
 * Whether opens of a volume's files go on although a switch is under way, as a directory that its
 * publisher waits for is held: they get the version that is shown.
 * @volume: node id of its directory; an unknown one is fine
 */
void live_file_let_opens(struct tree *tree, uint64_t volume, bool lets);

/*
 * The files below a directory that were made for an update are in no switch, as there is none:
 * those who open them wait no longer, and find that there is no such file.
 */
void live_file_give_up_new(struct tree *tree, uint64_t id);
/* Whether a file belongs to what its volume shows: see enum live_presence. */
bool live_file_is_shown(struct tree *tree, uint64_t id);
/*
 * Whether a file has changed and its watchers have not got MODIFY; and they get it, as the file is
 * truncated to its own size.
 */
bool live_file_is_unannounced(struct tree *tree, uint64_t id);
void live_file_announce(struct tree *tree, uint64_t id);

/* ---- what an earlier process had open; the table's lock is held */

/* A version of a live file. */
struct live_old_version {
    uint64_t number;
    struct timespec changed;
    struct file_content content; /* a reference is taken; object NULL: it was dropped */
    uint64_t volume;             /* node id of the directory of the volume that is charged */
};

/*
 * Open a file again as an earlier process had it open: one version after the other of a file, each
 * in the order of its requests. open_table_end_adopting() is to follow.
 * @old: NULL for an immutable file, and for the newest version
 * Return: 0; -EEXIST, -EINVAL: contradictory; -ENOMEM.
 */
int live_file_adopt_open(struct node_table *t, struct node *file, const struct open_file *like,
                         const struct live_old_version *old);

/* Whether a file is live, or the first file below a directory. */
bool live_file_is_live(struct tree *tree, uint64_t id);
/* A file, or all below a directory, belong to a volume, though they are elsewhere. */
void live_file_set_volume(struct tree *tree, uint64_t id, uint64_t volume);
/*
 * Make a file live, or all files below a directory.
 * Return: 0; -ENOMEM, then some may be live; -ESTALE.
 */
int live_file_make(struct tree *tree, uint64_t id);
