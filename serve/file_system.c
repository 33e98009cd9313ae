/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Created in this order: tree, session, mount, publisher; freed in the reverse order, as the
 * publisher's last steps are system calls that the session answers from the tree.
 *
 * If another process unmounts it, it is mounted again at the same place: volumes that are shown on
 * targets stay readable meanwhile, as their mounts are of their own. An aborted FUSE connection
 * cannot be revived; that ends the daemon, so that its service manager starts a new one.
 */
#include "serve/file_system.h"

#include <linux/mount.h>

#include "base/log.h"

/* Another process unmounted it: mount it again, unless the FUSE connection was aborted. */
static void on_session_ended(void *userdata)
{
    struct file_system *fs = userdata;
    struct error e = ERROR_INIT;

    if (session_attach(fs->session, &e) == 0)
        log_warn("the file system was unmounted by another process; mounted it again", "mountpoint",
                 fs->mountpoint);
    else
        fs->failed(fs->userdata, &e);
}

static int start_publisher(sd_event *event, const struct file_system_options *options,
                           struct file_system *fs, struct error *e)
{
    const struct publisher_options publisher = {.session = fs->session,
                                                .tree = fs->tree,
                                                .answers_open = options->answers_open,
                                                .monitor = options->monitor};

    return publisher_new(event, &publisher, &fs->publisher, e);
}

int file_system_new(sd_event *event, const struct file_system_options *options,
                    file_system_failed_fn *failed, void *userdata, struct file_system **ret_fs,
                    struct error *e)
{
    /* each volume has a directory with its own owner and mode */
    const struct tree_options tree_options = {.root_mode = 0700,
                                              .answers_open = options->answers_open};
    const struct session_options session_options = {
        .mountpoint = options->mountpoint,
        .source = options->source,
        .allow_other = true,
        .mount_attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .answers_open = options->answers_open,
    };
    _cleanup_(file_system_freep) struct file_system *fs = calloc(1, sizeof(*fs));
    int r;

    if (fs == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the file system");
    fs->failed = failed;
    fs->userdata = userdata;
    fs->mountpoint = strdup(options->mountpoint);
    r = fs->mountpoint != NULL ? tree_new(&tree_options, &fs->tree) : -ENOMEM;
    if (r < 0)
        return error_set_errno(e, r, "cannot create the file system");
    r = session_new(event, fs->tree, &session_options, on_session_ended, fs, &fs->session, e);
    if (r == 0)
        r = session_attach(fs->session, e);
    if (r == 0)
        r = start_publisher(event, options, fs, e);
    if (r < 0)
        return r;
    *ret_fs = TAKE(fs);
    return 0;
}

struct file_system *file_system_free(struct file_system *fs)
{
    if (fs == NULL)
        return NULL;
    if (publisher_free(fs->publisher) != NULL) {
        log_warn("a process holds the directory of a volume; this process ends when that one does",
                 "mountpoint", fs->mountpoint);
        session_abandon(fs->session);
        return fs;
    }
    session_free(fs->session);
    tree_free(fs->tree);
    free(fs->mountpoint);
    free(fs);
    return NULL;
}
