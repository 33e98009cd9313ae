/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user who can write to a directory on a path can put a link, or another directory, in place of
 * the next name at any time, and so make root create, mount or remove elsewhere. So each directory
 * is checked before a name is looked up in it: it belongs to root, and no other user can write to
 * it, unless its sticky bit keeps names of root where they are. In such a directory, a link of
 * another user is not followed.
 *
 * Names are resolved one by one, each in the descriptor of the directory that was checked. Source:
 * CHASE_SAFE of systemd, which refuses the same paths as "unsafe path transition".
 */
#include "node/safe_path.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define LINKS_MAX 40 /* the kernel's own limit of symbolic links in a path */

struct walk {
    const char *path;    /* the whole, for messages */
    int fd;              /* the directory so far */
    char rest[PATH_MAX]; /* relative to it */
    unsigned n_links;
};

static void walk_deinit(struct walk *w)
{
    w->fd = fd_close(w->fd);
}

static int refuse(const struct walk *w, const char *why, uid_t owner, struct error *e)
{
    return error_set(
        e, -EPERM,
        "unsafe path %.200s: above \"%.60s\" is %s of user %u or writable by others; use "
        "a path that only root can change",
        w->path, w->rest, why, owner);
}

/* Neither flag sends a request to a file system that is mounted there. */
static int query(int fd, struct statx *ret_status)
{
    return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MODE | STATX_UID,
                 ret_status) < 0
               ? negative_errno()
               : 0;
}

static bool is_trusted(uid_t owner)
{
    return owner == 0 || owner == geteuid();
}

static int check_directory(const struct walk *w, struct error *e)
{
    struct statx status;
    int r = query(w->fd, &status);
    bool is_sticky = (status.stx_mode & S_ISVTX) != 0;

    if (r < 0)
        return error_set_errno(e, r, "cannot check the directories of %s", w->path);
    if (!is_trusted(status.stx_uid) || ((status.stx_mode & 0022) != 0 && !is_sticky))
        return refuse(w, "a directory", status.stx_uid, e);
    return 0;
}

static int fail(const struct walk *w, int r, struct error *e)
{
    return error_set_errno(e, r, "cannot open the parent directory of %s", w->path);
}

/* Begin at the root directory, with @head and @tail as the rest. */
static int begin(struct walk *w, const char *head, const char *tail)
{
    char rest[PATH_MAX];
    int n = snprintf(rest, sizeof(rest), "%s%s%s", head, tail[0] != '\0' ? "/" : "", tail);

    if (n < 0 || (size_t)n >= sizeof(rest))
        return -ENAMETOOLONG;
    memcpy(w->rest, rest, (size_t)n + 1);
    if (head[0] != '/')
        return 0;
    fd_close(w->fd);
    w->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return w->fd >= 0 ? 0 : negative_errno();
}

static int follow(struct walk *w, int link_fd, struct error *e)
{
    char target[PATH_MAX], tail[PATH_MAX];
    struct statx status;
    ssize_t n = readlinkat(link_fd, "", target, sizeof(target) - 1);
    int r = n < 0 ? negative_errno() : query(link_fd, &status);

    if (r == 0 && !is_trusted(status.stx_uid))
        return refuse(w, "a link", status.stx_uid, e);
    if (r == 0 && ++w->n_links > LINKS_MAX)
        r = -ELOOP;
    if (r < 0)
        return fail(w, r, e);
    target[n] = '\0';
    memcpy(tail, w->rest, strlen(w->rest) + 1);
    r = begin(w, target, tail);
    return r < 0 ? fail(w, r, e) : 0;
}

/* Take the next name off the rest. Return: 0; -ENAMETOOLONG. */
static int next_name(struct walk *w, char name[static NAME_MAX + 1])
{
    const char *begin = w->rest + strspn(w->rest, "/");
    size_t len = strcspn(begin, "/");
    const char *after = begin + len + strspn(begin + len, "/");

    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(name, begin, len);
    name[len] = '\0';
    memmove(w->rest, after, strlen(after) + 1);
    return 0;
}

/* Enter the next name of the rest. */
static int enter(struct walk *w, struct error *e)
{
    _cleanup_(fd_closep) int fd = -1;
    char name[NAME_MAX + 1];
    struct statx status;
    int r = next_name(w, name);

    if (r == 0) {
        fd = openat(w->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        r = fd < 0 ? negative_errno() : query(fd, &status);
    }
    if (r < 0)
        return fail(w, r, e);
    if (S_ISLNK(status.stx_mode))
        return follow(w, fd, e);
    if (!S_ISDIR(status.stx_mode))
        return fail(w, -ENOTDIR, e);
    fd_close(w->fd);
    w->fd = TAKE_FD(fd);
    return 0;
}

int safe_path_open_parent(const char *path, const char **ret_name, struct error *e)
{
    _cleanup_(walk_deinit) struct walk w = {.path = path, .fd = -1};
    const char *name = strrchr(path, '/') + 1;
    char parent[PATH_MAX];
    int r, n = snprintf(parent, sizeof(parent), "%.*s", (int)(name - path), path);

    assert(path[0] == '/' && name[0] != '\0');
    r = n < 0 || (size_t)n >= sizeof(parent) ? -ENAMETOOLONG : begin(&w, parent, "");
    if (r < 0)
        return fail(&w, r, e);
    for (;;) {
        r = check_directory(&w, e);
        if (r == 0 && w.rest[strspn(w.rest, "/")] == '\0') {
            *ret_name = name;
            return TAKE_FD(w.fd);
        }
        if (r == 0)
            r = enter(&w, e);
        if (r < 0)
            return r;
    }
}
