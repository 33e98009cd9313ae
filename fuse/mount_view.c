/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the read-only mount and the writable one come about, without a moment at which a consumer
 * could see an empty or a writable volume (as root):
 *
 *  1. fsopen() and fsmount() make a mount that is attached nowhere; the publisher fills it.
 *  2. mount_view_attach() sets a clone of it read-only, and then moves the clone to the mount
 * point. The writable mount stays, however often the other one is unmounted and attached again.
 *
 * A kernel before 6.15 does not clone what is not attached. There the mount itself is set read-only
 * and moved, and a clone of it, attached nowhere again, is set writable and takes its place. If
 * another process unmounts the mount between the two calls, no writable mount is left: that is
 * -EINVAL, and ends the daemon.
 *
 * mount_view_bind() is the same for one directory: a clone of what is attached, read-only before it
 * is moved onto the target. A dead mount that is there is replaced: the clone goes beneath it, then
 * the dead one is detached.
 *
 * The writable mount keeps the file system alive when the mount point is unmounted, so the
 * connection does not show the end; mountinfo does (mount_watch.c). Mounts in other namespaces may
 * exist then, of which nothing says when they go; mount_view_renew() tries. inotify watches inodes,
 * so a watcher of any mount of the file system sees what happens through the writable one.
 *
 * As an ordinary user there is one mount, made by fusermount3. No descriptor of it is kept, as that
 * would make the user's own unmounting fail with EBUSY: the publisher opens the mount point for
 * each update and compares its device number.
 *
 * No call here may ask the workers (AT_STATX_DONT_SYNC, O_PATH) but those of the publisher: if the
 * process were killed meanwhile, no worker would answer.
 */
#include "fuse/mount_view.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/lock.h"
#include "base/privileged.h"
#include "base/process.h"
#include "base/unmount.h"
#include "fuse/mount_watch.h"

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200 /* linux/mount.h of Linux 6.5 */
#endif

int mount_view_init(struct mount_view *view, const char *mountpoint)
{
    *view = (struct mount_view){.mountpoint = strdup(mountpoint), .fd = -1};
    pthread_mutex_init(&view->lock, NULL);
    return view->mountpoint != NULL ? 0 : -ENOMEM;
}

void mount_view_deinit(struct mount_view *view)
{
    view->fd = fd_close(view->fd);
    pthread_mutex_destroy(&view->lock);
    free(view->mountpoint);
    view->mountpoint = NULL;
}

bool mount_view_is_private(const struct mount_view *view)
{
    return view->fd >= 0;
}

/* ---- which mount it is */

static int mount_id_of(int fd, const char *path, uint64_t *ret_mount_id)
{
    struct statx status;

    if (statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &status) < 0)
        return negative_errno();
    *ret_mount_id = status.stx_mnt_id;
    return 0;
}

/* The attached mount, if it is what the mount point leads to. Return: a descriptor; -ENOTCONN. */
static int open_attached(const struct mount_view *v)
{
    _cleanup_(fd_closep) int fd =
        open(v->mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t mount_id = 0;

    if (fd < 0 || mount_id_of(fd, "", &mount_id) < 0 || mount_id != v->mount_id)
        return -ENOTCONN;
    return TAKE_FD(fd);
}

/* The mount that @fd or @path leads to is what consumers see, or are about to. */
static int note_mount(struct mount_view *v, int fd, const char *path)
{
    int r = mount_id_of(fd, path, &v->mount_id);

    v->is_attached = v->is_attached || r >= 0;
    return r;
}

int mount_view_identify(struct mount_view *view, struct error *e)
{
    bool as_user = view->fd < 0;
    struct statx root;
    int r = statx(as_user ? AT_FDCWD : view->fd, as_user ? view->mountpoint : "",
                  AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &root);

    if (r < 0)
        return error_set_errno(e, negative_errno(), "cannot stat the mount on %s",
                               view->mountpoint);
    view->device = makedev(root.stx_dev_major, root.stx_dev_minor);
    if (!as_user)
        return 0;
    r = note_mount(view, AT_FDCWD, view->mountpoint);
    return r < 0 ? error_set_errno(e, r, "cannot identify the mount on %s", view->mountpoint) : 0;
}

/* All mounts are read only if another one hides ours: a node has thousands that change. */
bool mount_view_check(struct mount_view *view)
{
    _cleanup_(fd_closep) int fd = open_attached(view);

    if (fd < 0 && !mount_watch_exists(view->mount_id, view->device))
        view->is_attached = false;
    return view->is_attached;
}

/* ---- mounting */

struct fs_option {
    unsigned command; /* FSCONFIG_SET_STRING or _FLAG */
    const char *name;
    const char *value;
};

static int mount_fs(struct mount_view *view, const struct mount_view_options *options,
                    int device_fd, struct error *e)
{
    char fd_text[16], uid_text[16], gid_text[16];
    const struct fs_option fs_options[] = {
        {FSCONFIG_SET_STRING, "source", options->source},
        {FSCONFIG_SET_STRING, "subtype", "secretfs"},
        {FSCONFIG_SET_STRING, "fd", fd_text},
        {FSCONFIG_SET_STRING, "rootmode", "40000"}, /* octal: a directory */
        {FSCONFIG_SET_STRING, "user_id", uid_text},
        {FSCONFIG_SET_STRING, "group_id", gid_text},
        {FSCONFIG_SET_FLAG, "default_permissions", NULL},
        {FSCONFIG_SET_FLAG, "allow_other", NULL},
    };
    _cleanup_(fd_closep) int fs_fd = fsopen("fuse", FSOPEN_CLOEXEC);

    assert(view->fd < 0 && !view->is_attached);
    if (fs_fd < 0 && errno == EPERM)
        return MOUNT_VIEW_NOT_PERMITTED;
    if (fs_fd < 0)
        return error_set_errno(e, negative_errno(),
                               "cannot open the fuse file system; is the "
                               "kernel's fuse module there?");
    snprintf(fd_text, sizeof(fd_text), "%d", device_fd);
    snprintf(uid_text, sizeof(uid_text), "%u", geteuid());
    snprintf(gid_text, sizeof(gid_text), "%u", getegid());
    for (size_t i = 0; i < ELEMENTS_OF(fs_options); i++) {
        const struct fs_option *o = &fs_options[i];

        if (fsconfig(fs_fd, o->command, o->name, o->value, 0) < 0)
            return error_set_errno(e, negative_errno(), "cannot set the mount option %s", o->name);
    }
    if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return error_set_errno(e, negative_errno(), "cannot create the file system");
    view->fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, (unsigned)options->mount_attr);
    if (view->fd < 0)
        return error_set_errno(e, negative_errno(), "cannot mount the file system");
    return 0;
}

static int set_read_only(int mount_fd, bool read_only)
{
    struct mount_attr attr = {0};

    if (read_only)
        attr.attr_set = MOUNT_ATTR_RDONLY;
    else
        attr.attr_clr = MOUNT_ATTR_RDONLY;
    return mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? negative_errno()
                                                                               : 0;
}

/* Return: a clone of the mount, attached nowhere; -errno, -EINVAL before Linux 6.15 if the mount is
 * attached nowhere itself. */
static int clone_mount(int mount_fd)
{
    int fd = open_tree(mount_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    return fd < 0 ? negative_errno() : fd;
}

/* Have the publisher work through a writable clone of the attached mount. The lock is held. */
static int make_writable_clone(struct mount_view *v, int attached_fd, struct error *e)
{
    int fd = clone_mount(attached_fd), r;

    if (fd < 0)
        return error_set_errno(e, fd, "cannot clone the mount on %s", v->mountpoint);
    fd_close(v->fd);
    v->fd = fd;
    r = set_read_only(v->fd, false);
    if (r < 0)
        return error_set_errno(e, r, "cannot make the private view of %s writable", v->mountpoint);
    return 0;
}

/* Move @mount_fd, which is attached nowhere, to the mount point. The lock is held. */
static int show(struct mount_view *v, int mount_fd, struct error *e)
{
    int r = set_read_only(mount_fd, true);

    if (r < 0)
        return error_set_errno(e, r, "cannot make the mount read-only");
    if (move_mount(mount_fd, "", AT_FDCWD, v->mountpoint, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return error_set_errno(e, negative_errno(), "cannot mount on %s", v->mountpoint);
    r = note_mount(v, mount_fd, "");
    return r < 0 ? error_set_errno(e, r, "cannot identify the mount on %s", v->mountpoint) : 0;
}

/* Before Linux 6.15; see the top comment. The lock is held. */
static int show_then_clone(struct mount_view *v, struct error *e)
{
    int r = show(v, v->fd, e);

    if (r < 0)
        return r;
    return make_writable_clone(v, v->fd, e);
}

/* Step 2 of the top comment. The lock is held. */
static int attach(struct mount_view *v, struct error *e)
{
    _cleanup_(fd_closep) int clone_fd = clone_mount(v->fd);

    if (clone_fd == -EINVAL)
        return show_then_clone(v, e);
    if (clone_fd < 0)
        return error_set_errno(e, clone_fd, "cannot clone the mount for %s", v->mountpoint);
    return show(v, clone_fd, e);
}

static dev_t device_of(int fd)
{
    struct statx root;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &root) < 0)
        return 0;
    return makedev(root.stx_dev_major, root.stx_dev_minor);
}

static int adopt(struct mount_view *view, dev_t device, struct error *e)
{
    _cleanup_(fd_closep) int fd =
        open(view->mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r;

    assert(view->fd < 0 && !view->is_attached);
    if (fd < 0 || device_of(fd) != device)
        return error_set(e, -ENOTCONN, "the mount on %s is gone or hidden under another one",
                         view->mountpoint);
    r = note_mount(view, fd, "");
    if (r < 0)
        return error_set_errno(e, r, "cannot identify the mount on %s", view->mountpoint);
    LOCK_GUARD(&view->lock);
    r = make_writable_clone(view, fd, e);
    return r == -EPERM ? 0 : r; /* an ordinary user's: fusermount3 has made the mount */
}

/*
 * A device that serves a file system mounts that one once more (Linux 5.14), and fails with
 * ENOTCONN if it has ended.
 */
static int renew(struct mount_view *view, int device_fd, struct error *e)
{
    const struct mount_view_options options = {.source = "secretfs"};

    LOCK_GUARD(&view->lock);
    assert(!view->is_attached);
    view->fd = fd_close(view->fd);
    return mount_fs(view, &options, device_fd, e);
}

/* ---- the loop's part, by the privileged thread */

struct view_call {
    struct mount_view *view;
    const struct mount_view_options *options;
    int device_fd;
    dev_t device;
    struct error *e;
};

static int run_mount(void *arguments)
{
    const struct view_call *c = arguments;

    return mount_fs(c->view, c->options, c->device_fd, c->e);
}

static int run_adopt(void *arguments)
{
    const struct view_call *c = arguments;

    return adopt(c->view, c->device, c->e);
}

static int run_attach(void *arguments)
{
    const struct view_call *c = arguments;

    LOCK_GUARD(&c->view->lock);
    return attach(c->view, c->e);
}

static int run_renew(void *arguments)
{
    const struct view_call *c = arguments;

    return renew(c->view, c->device_fd, c->e);
}

/* Consumers that still use the mount keep it busy; then it is detached lazily. */
static int run_unmount_as_user(void *arguments)
{
    const char *mountpoint = ((const struct view_call *)arguments)->view->mountpoint;
    const char *const unmount[] = {"fusermount3", "-u", "-q", "--", mountpoint, NULL};
    const char *const detach[] = {"fusermount3", "-u", "-q", "-z", "--", mountpoint, NULL};

    return process_run(unmount) == 0 || process_run(detach) == 0 ? 0 : -EBUSY;
}

static int run_unmount_as_root(void *arguments)
{
    return unmount_id(((const struct view_call *)arguments)->view->mount_id);
}

int mount_view_mount(struct mount_view *view, const struct mount_view_options *options,
                     int device_fd, struct error *e)
{
    struct view_call c = {.view = view, .options = options, .device_fd = device_fd, .e = e};

    return privileged_call(run_mount, &c);
}

int mount_view_adopt(struct mount_view *view, dev_t device, struct error *e)
{
    struct view_call c = {.view = view, .device = device, .e = e};

    return privileged_call(run_adopt, &c);
}

int mount_view_attach(struct mount_view *view, struct error *e)
{
    struct view_call c = {.view = view, .e = e};

    assert(view->fd >= 0);
    return privileged_call(run_attach, &c);
}

int mount_view_renew(struct mount_view *view, int device_fd, struct error *e)
{
    struct view_call c = {.view = view, .device_fd = device_fd, .e = e};

    return privileged_call(run_renew, &c);
}

int mount_view_detach(struct mount_view *view)
{
    struct view_call c = {.view = view};

    if (!view->is_attached || !mount_watch_exists(view->mount_id, view->device))
        return 0;
    view->is_attached = false;
    return view->fd < 0 ? privileged_run_program(run_unmount_as_user, &c)
                        : privileged_call(run_unmount_as_root, &c);
}

/* ---- the publisher's part */

/* The publisher has descriptors of its own (publisher_steps.c), so it takes what it needs out of
 * the process's. */
static int open_of_process(int process_fd)
{
    char path[32];
    int fd;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", process_fd);
    fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : negative_errno();
}

/*
 * The mount point of an ordinary user is opened each time: a descriptor that stayed open would keep
 * the user's own unmounting from working.
 */
static int open_view(const struct mount_view *v)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat root;

    if (v->fd >= 0)
        return open_of_process(v->fd);
    fd = open(v->mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &root) < 0 || root.st_dev != v->device)
        return -ENOTCONN;
    return TAKE_FD(fd);
}

int mount_view_begin_write(struct mount_view *view, int *ret_root_fd)
{
    int fd;

    LOCK_GUARD(&view->lock);
    fd = open_view(view);
    if (fd < 0)
        return fd;
    *ret_root_fd = fd;
    return 0;
}

void mount_view_end_write(int root_fd)
{
    assert(root_fd >= 0);
    fd_close(root_fd);
}

static int clone_part(int dir_fd, const char *path)
{
    const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_SYMLINK_NOFOLLOW;
    int fd = open_tree(dir_fd, path, flags);

    return fd < 0 ? negative_errno() : fd;
}

/* The view is attached nowhere, which a kernel before 6.15 does not clone; then the attached mount
 * is. */
static int clone_from_view_or_attached(const struct mount_view *v, const char *path,
                                       struct error *e)
{
    _cleanup_(fd_closep) int view_fd = open_view(v), attached_fd = -1;
    int fd = view_fd < 0 ? view_fd : clone_part(view_fd, path);

    if (fd == -EINVAL) {
        attached_fd = open_attached(v);
        if (attached_fd < 0)
            return error_set(e, attached_fd, "the mount on %s is gone or hidden under another one",
                             v->mountpoint);
        fd = clone_part(attached_fd, path);
    }
    return fd < 0 ? error_set_errno(e, fd, "cannot clone the mount of %s", path) : fd;
}

/*
 * A read-only mount of a directory that is attached nowhere yet. The view's lock is held.
 * Return: a descriptor, which is the caller's; -errno with @e.
 */
static int clone_read_only(struct mount_view *v, const char *path, unsigned long mount_attr,
                           struct error *e)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | mount_attr,
                              .propagation = MS_PRIVATE};
    _cleanup_(fd_closep) int fd = clone_from_view_or_attached(v, path, e);

    if (fd < 0)
        return fd;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return error_set_errno(e, negative_errno(), "cannot make the mount read-only");
    return TAKE_FD(fd);
}

static bool is_mount_root(int fd)
{
    struct statx status;

    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) == 0 &&
           (status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/*
 * Mount on a directory, or replace the mount of which the descriptor is the root, so that a reader
 * finds the one or the other at any time. @to_fd: of this thread
 */
static int move_to(int mount_fd, int to_fd)
{
    const unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    char path[40];

    if (is_mount_root(to_fd) &&
        move_mount(mount_fd, "", to_fd, "", flags | MOVE_MOUNT_BENEATH) == 0) {
        snprintf(path, sizeof(path), "/proc/thread-self/fd/%d", to_fd);
        return umount2(path, MNT_DETACH) < 0 ? negative_errno() : 0;
    }
    /* before Linux 6.5 it covers the other, which an unpublish detaches as well */
    return move_mount(mount_fd, "", to_fd, "", flags) < 0 ? negative_errno() : 0;
}

int mount_view_bind(struct mount_view *view, const char *name, int target_fd,
                    unsigned long mount_attr, uint64_t *ret_mount_id, struct error *e)
{
    _cleanup_(fd_closep) int clone_fd = -1, to_fd = -1;
    uint64_t mount_id;
    int r;

    assert(target_fd >= 0);
    {
        LOCK_GUARD(&view->lock);
        clone_fd = clone_read_only(view, name, mount_attr, e);
    }
    if (clone_fd < 0)
        return clone_fd;
    to_fd = open_of_process(target_fd);
    if (to_fd < 0)
        return error_set_errno(e, to_fd, "cannot open the directory to mount on");
    r = mount_id_of(clone_fd, "", &mount_id);
    if (r < 0)
        return error_set_errno(e, r, "cannot identify the mount");
    r = move_to(clone_fd, to_fd);
    if (r < 0)
        return error_set_errno(e, r, "cannot mount");
    *ret_mount_id = mount_id;
    return 0;
}
