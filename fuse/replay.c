/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker changes the tree, and answers. If it is killed in between, a kernel that sends requests
 * again learns of the change from the next process (operations.c). One that cannot has ended the
 * publisher's call with an error, and goes on with what it has cached: a name that the tree has no
 * more, no name where the tree has one, or an old link behind ..data, for ever. So the next process
 * makes the calls again, each of which ends in one of two ways:
 *
 *  - The kernel has learned of the change. It knows that the name exists, or that it does not, and
 *    answers the call by itself: EEXIST, ENOENT.
 *  - It has not. It sends the request, a worker finds that the tree has the change already, and
 *    answers that it is made. Watchers get the event that they have not got.
 *
 * The rename of ..data is repeated if the kernel still has the new link at ..data_tmp: there it may
 * also have an older one, whose removal it has missed.
 */
#include "fuse/replay.h"

#include <fcntl.h>
#include <stdio.h>

#include "fuse/names.h"

#define DATA_LINK     "..data"
#define DATA_TMP_LINK "..data_tmp"

struct replay {
    struct tree *tree;
    int dir_fd;
    int first_error;
};

/* @expected: the error of a call that the kernel answers by itself */
static void note(struct replay *r, int result, int expected)
{
    /* ENOENT: also below a directory that the kernel has not */
    if (result < 0 && errno != expected && errno != ENOENT && r->first_error == 0)
        r->first_error = negative_errno();
}

static void replay_switch(struct replay *r, uint64_t dir_id)
{
    struct stat data, cached;

    if (tree_find(r->tree, dir_id, DATA_LINK, &data) == 0 &&
        fstatat(r->dir_fd, DATA_TMP_LINK, &cached, AT_SYMLINK_NOFOLLOW) == 0 &&
        cached.st_ino == data.st_ino)
        note(r, renameat(r->dir_fd, DATA_TMP_LINK, r->dir_fd, DATA_LINK), 0);
}

/* Names that are used again meanwhile are left alone. */
static int replay_removals(struct replay *r, const char *path, uint64_t dir_id)
{
    _cleanup_(names_deinit) struct names removed = {0};
    struct stat ignored;
    int result = names_take_removed(&removed, r->tree, dir_id);

    for (size_t i = 0; i < removed.n && result == 0; i++) {
        const struct name *name = &removed.all[i];
        _cleanup_(freep) char *full = names_join(path, name->text);

        if (full == NULL)
            result = -ENOMEM;
        else if (tree_find(r->tree, dir_id, name->text, &ignored) == -ENOENT)
            note(r, unlinkat(r->dir_fd, full, name->is_directory ? AT_REMOVEDIR : 0), ENOENT);
    }
    return result;
}

/* Files come into being with their directory. */
static int replay_name(void *userdata, const char *path, const struct name *name)
{
    struct replay *r = userdata;
    _cleanup_(freep) char *target = NULL;
    int result;

    if (name->is_directory) {
        note(r, mkdirat(r->dir_fd, path, 0755), EEXIST);
        return replay_removals(r, path, name->id);
    }
    result = tree_readlink(r->tree, name->id, &target);
    if (result == 0)
        note(r, symlinkat(target, r->dir_fd, path), EEXIST);
    return result == -ENOMEM ? result : 0;
}

int replay_changes(struct tree *tree, int dir_fd, uint64_t dir_id)
{
    struct replay r = {.tree = tree, .dir_fd = dir_fd};
    struct stat ignored;
    int result;

    replay_switch(&r, dir_id);
    result = names_walk(tree, dir_id, ".", replay_name, &r);
    if (result == 0)
        result = replay_removals(&r, ".", dir_id);
    if (tree_find(tree, dir_id, DATA_TMP_LINK, &ignored) == -ENOENT)
        note(&r, unlinkat(dir_fd, DATA_TMP_LINK, 0), ENOENT);
    return result < 0 ? result : r.first_error;
}
