/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file is opened for writing, set to the size that it has, and closed: the kernel makes MODIFY
 * and CLOSE_WRITE of that, and keeps its pages.
 *
 * What happens in a directory is told by doing it there. Files are opened by their names in it, so
 * that the kernel knows the directory as well, and tells those who watch that.
 */
#include "fuse/tell.h"

#include <fcntl.h>

#include "fuse/names.h"
#include "fuse/writer.h"

#define NO_ID 0u /* of no node */

void tell_file(int fd_consumed)
{
    _cleanup_(fd_closep) int fd = fd_consumed;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0 || ftruncate(fd, status.st_size) < 0)
        return; /* whoever watched it has been told that it is gone */
}

static int open_directory(int dir_fd, const char *name)
{
    return openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Return: its node id, or NO_ID; *ret_is_directory is set in any case. */
static uint64_t find(struct tree *tree, uint64_t dir_id, const char *name, bool *ret_is_directory)
{
    struct stat status;
    bool is_there = tree_find(tree, dir_id, name, &status) == 0;

    *ret_is_directory = is_there && S_ISDIR(status.st_mode);
    return is_there ? status.st_ino : NO_ID;
}

/* ---- what is new */

static void make_file(struct tree *tree, int dir_fd, const char *name, uint64_t like_id)
{
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct tree_content content;
    struct payload_file file = {.path = NULL};
    struct stat status;

    if (tree_read(tree, like_id, &content) < 0)
        return;
    object = content.object;
    if (tree_stat(tree, like_id, &status) < 0)
        return;
    file = (struct payload_file){
        .object = object,
        .bytes = content.bytes,
        .len = content.len,
        .attributes = {.mode = status.st_mode & 0777, .uid = status.st_uid, .gid = status.st_gid}};
    tree_stage_file(tree, &file);
    (void)mknodat(dir_fd, name, S_IFREG | file.attributes.mode, 0);
    tree_stage_file(tree, NULL);
}

static void make_directory(struct tree *tree, int dir_fd, const char *name, uint64_t like_id)
{
    _cleanup_(fd_closep) int fd = -1;
    struct stat status;

    if (mkdirat(dir_fd, name, 0755) < 0)
        return;
    fd = open_directory(dir_fd, name);
    if (fd >= 0 && fstat(fd, &status) == 0)
        tell_directory(tree, fd, status.st_ino, NO_ID, like_id);
}

static void make_new(struct tree *tree, int dir_fd, uint64_t dir_id, uint64_t new_id)
{
    _cleanup_(names_deinit) struct names names = {0};

    (void)names_read(&names, tree, new_id); /* some are better than none */
    for (size_t i = 0; i < names.n; i++) {
        const struct name *new = &names.all[i];
        bool is_directory;

        if (find(tree, dir_id, new->text, &is_directory) != NO_ID)
            continue;
        if (new->is_directory)
            make_directory(tree, dir_fd, new->text, new->id);
        else
            make_file(tree, dir_fd, new->text, new->id);
    }
}

/* ---- what has changed, and what is gone */

static void tell_child(struct tree *tree, int dir_fd, const struct name *child, uint64_t shown_id,
                       uint64_t new_id)
{
    bool shown_is_directory, new_is_directory;
    uint64_t shown = find(tree, shown_id, child->text, &shown_is_directory);
    uint64_t new = find(tree, new_id, child->text, &new_is_directory);

    if (new == NO_ID || new_is_directory != child->is_directory) {
        if (child->is_directory)
            (void)writer_remove(tree, dir_fd, child->text);
        else
            (void)unlinkat(dir_fd, child->text, 0);
    } else if (child->is_directory) {
        _cleanup_(fd_closep) int fd = open_directory(dir_fd, child->text);

        if (fd >= 0)
            tell_directory(tree, fd, child->id, shown, new);
    } else if (!tree_same_content(tree, shown, new)) {
        tell_file(openat(dir_fd, child->text, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
    }
}

void tell_directory(struct tree *tree, int dir_fd, uint64_t dir_id, uint64_t shown_id,
                    uint64_t new_id)
{
    _cleanup_(names_deinit) struct names names = {0};

    (void)names_read(&names, tree, dir_id);
    for (size_t i = 0; i < names.n; i++)
        tell_child(tree, dir_fd, &names.all[i], shown_id, new_id);
    make_new(tree, dir_fd, dir_id, new_id);
}
