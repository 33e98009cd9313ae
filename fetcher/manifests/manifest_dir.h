/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The manifests of a directory: its files as they were read last, and word of when to look again.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "fetcher/manifests/manifest_file.h"

#define MANIFEST_DIR_MAX_FILES 10000 /* manifests, whatever else lies there */

struct manifest_dir;

/* A file of the directory as it was read last. */
struct manifest_file {
    char *name;
    struct file_stamp stamp;
    bool is_read;    /* the stamp counts */
    bool is_changed; /* by the last refresh */
    /* When it was first found gone; 0 while it is there. It goes a little later, for the case that
     * it is being replaced; what is said elsewhere goes before it. */
    mono_us missing_since;
    struct manifest_list list;
};

/*
 * Something happened to the directory or its files.
 * @at:         when the event was read from the kernel
 * @is_closing: whoever does it will close the file in the end, and that is told too: no hurry
 */
typedef void manifest_dir_changed_fn(void *userdata, mono_us at, bool is_closing);

/*
 * @path: absolute
 * Return: 0, *ret_dir is the caller's, with no files before the first refresh; -errno with @e.
 */
int manifest_dir_new(sd_event *event, const char *path, const char *default_namespace,
                     manifest_dir_changed_fn *changed, void *userdata,
                     struct manifest_dir **ret_dir, struct error *e);
struct manifest_dir *manifest_dir_free(struct manifest_dir *dir);
DEFINE_CLEANUP(struct manifest_dir *, manifest_dir_free)

/*
 * Look at the directory, and read the files that are not as they were.
 * Return: 0; MANIFEST_FILE_BUSY if it has to be done again soon, because a file is being written or
 * has just vanished; -ENOMEM in the middle of it; other -errno with @e when the directory is no
 * good, the files are as before.
 */
int manifest_dir_refresh(struct manifest_dir *dir, struct error *e);

/* The files in the order of their names, borrowed until the next refresh. */
struct manifest_file *const *manifest_dir_peek(const struct manifest_dir *dir, size_t *ret_n);
