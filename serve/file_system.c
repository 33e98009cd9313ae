/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Created in this order: tree, session, mount, publisher; freed in the reverse order, as the
 * publisher's last steps are system calls that the session answers from the tree.
 *
 * If another process unmounts it, it is mounted again at the same place: volumes that are shown on
 * targets stay readable meanwhile, as their mounts are of their own. An aborted FUSE connection
 * cannot be revived; that ends the daemon, so that its service manager starts a new one.
 *
 * With a descriptor store it outlives the process (mount_handover.h).
 */
#include "serve/file_system.h"

#include <linux/mount.h>

#include "base/log.h"
#include "fuse/live_file.h"

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

static int start_publisher(struct file_system *fs, struct error *e)
{
    const struct publisher_options publisher = {.session = fs->session,
                                                .tree = fs->tree,
                                                .answers_open = fs->options.answers_open,
                                                .monitor = fs->options.monitor};

    return publisher_new(fs->event, &publisher, &fs->publisher, e);
}

static int make_tree(struct file_system *fs, struct error *e)
{
    /* each volume has a directory with its own owner and mode */
    const struct tree_options options = {.root_mode = 0700,
                                         .answers_open = fs->options.answers_open};
    int r = tree_new(&options, &fs->tree);

    return r < 0 ? error_set_errno(e, r, "cannot create the file system") : 0;
}

/* @adoption: NULL: create a mount, attached nowhere yet */
static int make_session(struct file_system *fs, struct session_adoption *adoption, struct error *e)
{
    const struct session_options options = {
        .mountpoint = fs->mountpoint,
        .source = fs->options.source,
        .allow_other = true,
        .mount_attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        .answers_open = fs->options.answers_open,
        .adoption = adoption,
    };

    return session_new(fs->event, fs->tree, &options, on_session_ended, fs, &fs->session, e);
}

/* ---- the file system of an earlier process */

/* Readers get answers once it has succeeded. */
static int adopt(void *userdata, struct handover *handover, struct session_adoption *adoption,
                 struct error *e)
{
    struct file_system *fs = userdata;
    int r = make_tree(fs, e);

    if (r == 0)
        r = handover_read_tree(handover, fs->tree, e);
    if (r == 0)
        r = make_session(fs, adoption, e);
    if (r == 0)
        r = handover_begin(handover, fs->tree, fs->session, fs->mountpoint, e);
    if (r == 0)
        r = start_publisher(fs, e);
    if (r == 0)
        session_serve(fs->session);
    return r;
}

static void undo_adopt(void *userdata)
{
    struct file_system *fs = userdata;

    fs->session = session_hand_over(fs->session);
    if (fs->tree != NULL)
        live_file_close_all(fs->tree);
    fs->tree = tree_free(fs->tree);
}

/* Return: 0; FILE_SYSTEM_NEW; -errno with @e. */
static int take_over(struct file_system *fs, struct error *e)
{
    const struct mount_handover_options options = {
        .store = fs->options.fd_store,
        .name = fs->options.handover_name,
        .mountpoint = fs->mountpoint,
        .answers_open = fs->options.answers_open,
        .serve = adopt,
        .undo = undo_adopt,
        .userdata = fs,
    };
    int r;

    if (options.store == NULL)
        return FILE_SYSTEM_NEW;
    r = mount_handover_take_over(fs->event, &options, &fs->handover, e);
    fs->is_adopted = r == 0;
    return r == MOUNT_HANDOVER_NONE ? FILE_SYSTEM_NEW : r;
}

/* ---- new and free */

int file_system_new(sd_event *event, const struct file_system_options *options,
                    file_system_failed_fn *failed, void *userdata, struct file_system **ret_fs,
                    struct error *e)
{
    _cleanup_(file_system_freep) struct file_system *fs = calloc(1, sizeof(*fs));
    int r;

    if (fs == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the file system");
    fs->event = sd_event_ref(event);
    fs->options = *options;
    fs->failed = failed;
    fs->userdata = userdata;
    fs->mountpoint = strdup(options->mountpoint);
    if (fs->mountpoint == NULL)
        return error_set_errno(e, -ENOMEM, "cannot create the file system");
    r = take_over(fs, e);
    if (r >= 0)
        *ret_fs = TAKE(fs);
    return r;
}

/* A keeper behind a socket was set up for it. */
static void report_old_kernel(const struct file_system *fs)
{
    if (fd_store_is_behind_socket(fs->options.fd_store))
        log_warn("the keeper is not used for files that are mounted by subPath or change in place: "
                 "the kernel is older than Linux 6.9; they end with this process",
                 "mountpoint", fs->mountpoint);
}

/*
 * The state is stored before a reader can see the mount. Not if a request that a killed process had
 * taken would never end while the device is stored.
 */
static int begin_handover(struct file_system *fs)
{
    struct error e = ERROR_INIT;
    int r;

    if (!session_can_outlive_process(fs->session)) {
        if (fs->options.answers_open)
            report_old_kernel(fs);
        return -EOPNOTSUPP;
    }
    r = handover_begin(fs->handover, fs->tree, fs->session, fs->mountpoint, &e);
    if (r < 0)
        log_warn("cannot store the mount; it ends with this process", "mountpoint", fs->mountpoint,
                 "error", e.text);
    return r;
}

int file_system_mount(struct file_system *fs, struct error *e)
{
    int r;

    assert(fs->tree == NULL && fs->session == NULL);
    r = make_tree(fs, e);
    if (r == 0)
        r = make_session(fs, NULL, e);
    if (r < 0)
        return r;
    session_serve(fs->session);
    if (fs->handover != NULL && begin_handover(fs) < 0)
        fs->handover = handover_free(fs->handover);
    r = session_attach(fs->session, e);
    return r == 0 ? start_publisher(fs, e) : r;
}

bool file_system_is_handed_over(const struct file_system *fs, bool is_requested)
{
    return fs != NULL && !session_is_dead(fs->session) &&
           mount_handover_is_due(fs->handover, fs->options.fd_store, is_requested);
}

static struct file_system *release(struct file_system *fs)
{
    handover_free(fs->handover);
    tree_free(fs->tree);
    free(fs->mountpoint);
    sd_event_unref(fs->event);
    free(fs);
    return NULL;
}

static bool is_in_use(struct file_system *fs)
{
    bool is_held = publisher_free(fs->publisher) != NULL;

    if (is_held)
        log_warn("a process holds the directory of a volume; this process ends when that one does",
                 "mountpoint", fs->mountpoint);
    return is_held;
}

struct file_system *file_system_free(struct file_system *fs)
{
    if (fs == NULL)
        return NULL;
    handover_end(fs->handover);
    if (is_in_use(fs)) {
        session_abandon(fs->session);
        return fs;
    }
    session_free(fs->session);
    return release(fs);
}

struct file_system *file_system_hand_over(struct file_system *fs)
{
    if (fs == NULL)
        return NULL;
    if (is_in_use(fs))
        return fs;
    log_info("handing the mount over", "mountpoint", fs->mountpoint);
    session_hand_over(fs->session);
    return release(fs);
}
