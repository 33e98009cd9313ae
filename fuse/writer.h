/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The writer: makes a payload the current generation of a volume, by system calls on the mount.
 *
 * Thread: the publisher's.
 */
#include "base/clock.h"
#include "fuse/live_switch.h"

#define GENERATION_NAME_SIZE 48 /* "..YYYY_MM_DD_HH_MM_SS." and up to ten digits; A5 */

struct writer_result {
    char generation[GENERATION_NAME_SIZE];
    mono_us visible_at; /* when ..data led to it */
};

struct writer_options {
    bool is_live;                    /* the files of a new generation are live */
    struct live_switch *live_switch; /* is committed by the rename of ..data; or NULL */
};

/*
 * Make @payload current; the generation that it replaces stays, for writer_clean().
 * @tree:    serves the mount; names are read from it, and the payload is staged in it
 * @dir_fd:  the volume's directory in the writable view (O_PATH)
 * @dir_id:  the same directory's node id
 * @payload: borrowed
 * Return: 0; -errno of the call that failed. Then the current generation is still
 * the old one, unless *ret_result was filled in: then the next publish finishes this one.
 * Source: C1 to C13 in the order of C3; see writer.c.
 */
int writer_publish(struct tree *tree, int dir_fd, uint64_t dir_id, struct payload *payload,
                   const struct writer_options *options, struct writer_result *ret_result);

/*
 * The same without a new generation, for a volume whose files change in place: the files of the
 * current generation have been given their content by live_update_begin(), which the rename of
 * ..data to the same target commits.
 * Parameters and return as writer_publish().
 */
int writer_refresh(struct tree *tree, int dir_fd, uint64_t dir_id, struct payload *payload,
                   const struct writer_options *options, struct writer_result *ret_result);

/*
 * The current generation.
 * Return: 0, *ret_id is its node id, *ret_name is the caller's; -ENOENT before the first publish;
 * -ENOMEM.
 */
int writer_find_current(struct tree *tree, uint64_t dir_id, char **ret_name, uint64_t *ret_id);

/*
 * Remove all generations but the current one: what the last publish replaced, and what failed ones
 * left behind.
 * Return: 0; -errno of the first call that failed; the others were made nevertheless.
 */
int writer_clean(struct tree *tree, int dir_fd, uint64_t dir_id);

/*
 * Have the kernel learn what it need not request: open a file of the current generation, a
 * directory, and close them. From then on open(2) and close(2) of every file cost no request, also
 * while no process serves the mount. Before a reader can see the volume, as watchers see it.
 */
void writer_open_first(struct tree *tree, int dir_fd, uint64_t dir_id);

/*
 * Finish or undo what an earlier process was doing when it ended: of a generation that is current
 * the links are made and removed, a stale ..data_tmp is removed. writer_clean() removes a
 * generation that is not current. Return: 0; -errno of the call that failed.
 */
int writer_finish(struct tree *tree, int dir_fd, uint64_t dir_id);

/*
 * Remove a directory with all that is in it. If it does not exist that is no failure.
 * @dir_fd: the directory that it is in, in the writable view (O_PATH)
 * Return: 0; -errno of the call that failed.
 */
int writer_remove(struct tree *tree, int dir_fd, const char *name);
