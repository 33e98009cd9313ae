/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/volume_dir.h"

#include <fcntl.h>

#include "base/cleanup.h"
#include "fuse/replay.h"
#include "fuse/writer.h"

int volume_dir_init(struct volume_dir *dir, struct session *session, struct tree *tree,
                    const char *name)
{
    *dir = (struct volume_dir){.session = session,
                               .tree = tree,
                               .name = strdup(name),
                               .id = streq(name, ".") ? TREE_ROOT_ID : 0};
    return dir->name != NULL ? 0 : -ENOMEM;
}

void volume_dir_deinit(struct volume_dir *dir)
{
    free(dir->name);
    dir->name = NULL;
}

static int set_attributes(const struct volume_dir *dir, int root_fd, struct stat *ret_status)
{
    if (fchownat(root_fd, dir->name, dir->uid, dir->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        fchmodat(root_fd, dir->name, dir->mode, 0) < 0 ||
        fstatat(root_fd, dir->name, ret_status, AT_SYMLINK_NOFOLLOW) < 0)
        return negative_errno();
    return 0;
}

/* The kernel may have missed that an earlier process has removed it: see replay.c. */
static int mkdir_or_replace(const struct volume_dir *dir, int root_fd)
{
    struct stat ignored;

    if (mkdirat(root_fd, dir->name, 0700) == 0)
        return 0;
    if (errno != EEXIST || !session_may_have_lost_replies(dir->session) ||
        tree_find(dir->tree, TREE_ROOT_ID, dir->name, &ignored) != -ENOENT)
        return negative_errno();
    return unlinkat(root_fd, dir->name, AT_REMOVEDIR) < 0 || mkdirat(root_fd, dir->name, 0700) < 0
               ? negative_errno()
               : 0;
}

static int make_directory(struct volume_dir *dir, int root_fd)
{
    struct stat status = {0};
    int r;

    assert(dir->id == 0);
    r = mkdir_or_replace(dir, root_fd);
    if (r < 0)
        return r;
    r = set_attributes(dir, root_fd, &status);
    if (r < 0)
        unlinkat(root_fd, dir->name, AT_REMOVEDIR);
    else
        dir->id = status.st_ino;
    return r;
}

int volume_dir_open(struct volume_dir *dir, struct volume_dir_view *ret_view)
{
    int root_fd, fd;
    int r = session_begin_write(dir->session, &root_fd);

    if (r < 0)
        return r;
    r = dir->id == 0 ? make_directory(dir, root_fd) : 0;
    if (r == 0) {
        fd = openat(root_fd, dir->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            *ret_view = (struct volume_dir_view){.root_fd = root_fd, .fd = fd};
            return 0;
        }
        r = negative_errno();
    }
    session_end_write(dir->session, root_fd);
    return r;
}

void volume_dir_close(struct volume_dir *dir, struct volume_dir_view *view)
{
    view->fd = fd_close(view->fd);
    session_end_write(dir->session, view->root_fd);
    view->root_fd = -1;
}

int volume_dir_adopt(struct volume_dir *dir)
{
    struct stat status;
    int r = dir->id != 0 ? 0 : tree_find(dir->tree, TREE_ROOT_ID, dir->name, &status);

    if (r < 0)
        return r;
    if (dir->id == 0)
        dir->id = status.st_ino;
    dir->is_adopted = true;
    return 0;
}

static int finish(struct volume_dir *dir, int fd)
{
    int r = 0;

    if (session_may_have_lost_replies(dir->session))
        r = replay_changes(dir->tree, fd, dir->id);
    if (r == 0)
        r = writer_finish(dir->tree, fd, dir->id);
    dir->is_adopted = r < 0;
    return r;
}

int volume_dir_finish(struct volume_dir *dir)
{
    struct volume_dir_view view;
    int r;

    if (!dir->is_adopted)
        return 0;
    r = volume_dir_open(dir, &view);
    if (r < 0)
        return r;
    r = finish(dir, view.fd);
    volume_dir_close(dir, &view);
    return r;
}

int volume_dir_clean(struct volume_dir *dir)
{
    struct volume_dir_view view;
    int r = volume_dir_open(dir, &view);

    if (r < 0)
        return r;
    assert(dir->id != 0 && !dir->is_adopted);
    r = writer_clean(dir->tree, view.fd, dir->id);
    volume_dir_close(dir, &view);
    return r;
}

/* What the kernel has missed, the directory itself too, it would not remove. */
static void replay_before_removal(const struct volume_dir *dir, int root_fd)
{
    _cleanup_(fd_closep) int fd = -1;

    (void)mkdirat(root_fd, dir->name, 0700);
    fd = openat(root_fd, dir->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        (void)replay_changes(dir->tree, fd, dir->id);
}

int volume_dir_remove(struct volume_dir *dir)
{
    int root_fd, r;

    if (dir->id == 0 || dir->id == TREE_ROOT_ID)
        return 0;
    r = session_begin_write(dir->session, &root_fd);
    if (r < 0)
        return r;
    if (session_may_have_lost_replies(dir->session))
        replay_before_removal(dir, root_fd);
    r = writer_remove(dir->tree, root_fd, dir->name);
    session_end_write(dir->session, root_fd);
    return r;
}
