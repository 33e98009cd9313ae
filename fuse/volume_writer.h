/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * A volume writer: has one volume's directory show payloads, generation after generation or in
 * place, together with what is mounted alone of the volume.
 *
 * An update has two halves: between volume_writer_begin() and volume_writer_end() readers that have
 * just opened a live file get their time.
 *
 * Thread: the publisher's.
 */
#include "fuse/live_update.h"
#include "fuse/volume_dir.h"
#include "fuse/writer.h"

/* What the writers of one file system have in common; borrowed. */
struct volume_writer_host {
    struct session *session;
    struct tree *tree;
    struct live_mounts *live_mounts; /* NULL: mounts are not monitored */
    bool answers_open;               /* files may be live */
};

/* Embedded. Members are read by the publisher, and written as far as they say so. */
struct volume_writer {
    const struct volume_writer_host *host;
    struct volume_dir dir; /* uid, gid and mode are set by the owner, as changes_in_place */
    bool changes_in_place;
    bool has_generation;
    bool makes_generation; /* the update under way does */
    struct payload *shown; /* by the volume, where files may be live */
    uint64_t edition;      /* of the update under way, or the last one */
    struct live_update update;
};

/* @name: copied. Return: 0 or -ENOMEM. */
int volume_writer_init(struct volume_writer *writer, const struct volume_writer_host *host,
                       const char *name);
/*
 * Go on where an earlier process ended.
 * @shown: what the volume shows; a reference is taken
 * Return: 0; -ENOENT: the tree has no directory of that name.
 */
int volume_writer_adopt(struct volume_writer *writer, struct payload *shown);
/* An update that has begun is dropped; the directory stays. */
void volume_writer_deinit(struct volume_writer *writer);

/*
 * The first half of an update; opens the directory as volume_dir_open() does. An update that has
 * begun already is dropped.
 * @payload: a reference is taken
 * Return: 0, volume_writer_end() is next; -errno.
 */
int volume_writer_begin(struct volume_writer *writer, struct payload *payload);

/* Until when to wait for readers before the second half; 0: no wait. May become 0 earlier. */
mono_us volume_writer_drain_until(const struct volume_writer *writer);

/* Whether the update that has begun leaves files out, so that they have to catch up later. */
bool volume_writer_is_partial(const struct volume_writer *writer);

/*
 * The second half.
 * Return: 0; -errno. *ret_written is filled in if readers see the payload, also on failure.
 */
int volume_writer_end(struct volume_writer *writer, struct writer_result *ret_written);

/*
 * Give live files alone what the volume shows: the first half, volume_writer_end_catching_up() is
 * the second. Return: 0; -ENOENT when the volume shows nothing yet; -errno.
 */
int volume_writer_begin_catching_up(struct volume_writer *writer);
void volume_writer_end_catching_up(struct volume_writer *writer);

/*
 * Remove old generations, and finish what an earlier process was doing before the first update.
 * Return: 0; -errno.
 */
int volume_writer_clean(struct volume_writer *writer);

/* Remove the directory, and release what is mounted alone. Return: 0; -errno. */
int volume_writer_remove(struct volume_writer *writer);
