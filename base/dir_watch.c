/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory's path is a chain of names and symlinks, each of which can be replaced: the kubelet
 * renames "..data", a deployment changes the link "current", an administrator moves a parent. So
 * the path is walked as the kernel does it, and each directory in which a name is looked up is
 * watched for that name. The order makes it safe:
 *
 *  1. the directory is watched, 2. the name is looked up in it, 3. the next one is entered.
 *
 * The walk sees a change before 2, and a later one is reported, upon which the owner walks again.
 * The same holds for entries that are symlinks: their targets are watched, because writing to a
 * file raises no event in a directory that holds only a link to it.
 *
 * A mount over the directory, or an unmount, raises no event of inotify. So the kernel's mount
 * table is polled; a change of it counts if the path leads to another directory then.
 *
 * inotify is used directly and not through sd_event_add_inotify(): the events of one read(2) have
 * one time of arrival and cause one scan of the directory.
 */
#include "base/dir_watch.h"

#include <fcntl.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/file_access.h"
#include "base/list.h"
#include "base/log.h"

#define MAX_SYMLINKS 40 /* as the kernel's MAXSYMLINKS */
#define MAX_NAMES    8  /* watched in one directory; beyond that all of its names are */
#define READ_BYTES   65536

/* Events of a name on the path. */
#define PATH_EVENTS                                                                                \
    (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF |            \
     IN_MOVE_SELF | IN_ONLYDIR)
#define CONTENT_EVENTS (IN_MODIFY | IN_CLOSE_WRITE)
#define FILE_EVENTS    (CONTENT_EVENTS | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

/* One inode that is watched: a directory on the path, the directory itself, or a file. */
struct inode_watch {
    struct list link;
    int wd;
    unsigned generation;    /* of the last renewal that needed it */
    char *names[MAX_NAMES]; /* owned; events of other names are ignored */
    unsigned n_names;
    bool is_unfiltered;
};

struct dir_watch {
    char *path;
    dir_watch_fn *changed;
    void *userdata;
    int fd; /* inotify */
    int mounts_fd;
    sd_event_source *inotify_source;
    sd_event_source *mounts_source;
    struct list inodes;
    void *by_wd; /* tsearch(3) tree of the same */
    int dir_wd;  /* of the directory itself, or -1 */
    dev_t dev;   /* the directory that the path led to at the last renewal; 0 if none */
    ino_t ino;
    unsigned generation;
};

static int wd_compare(const void *a, const void *b)
{
    const struct inode_watch *x = a, *y = b;

    return x->wd < y->wd ? -1 : x->wd > y->wd;
}

static struct inode_watch *find_inode(const struct dir_watch *w, int wd)
{
    const struct inode_watch like = {.wd = wd};
    struct inode_watch *const *node = tfind(&like, &w->by_wd, wd_compare);

    return node != NULL ? *node : NULL;
}

static void drop_names(struct inode_watch *inode)
{
    for (unsigned i = 0; i < inode->n_names; i++)
        free(inode->names[i]);
    inode->n_names = 0;
    inode->is_unfiltered = false;
}

static void drop_inode(struct dir_watch *w, struct inode_watch *inode)
{
    assert(find_inode(w, inode->wd) == inode);
    tdelete(inode, &w->by_wd, wd_compare);
    list_remove(&inode->link);
    drop_names(inode);
    free(inode);
}

static struct inode_watch *add_inode(struct dir_watch *w, int wd)
{
    struct inode_watch *inode = calloc(1, sizeof(*inode));

    if (inode == NULL)
        return NULL;
    assert(wd >= 0 && find_inode(w, wd) == NULL);
    inode->wd = wd;
    list_append(&w->inodes, &inode->link);
    if (tsearch(inode, &w->by_wd, wd_compare) == NULL) {
        list_remove(&inode->link);
        free(inode);
        return NULL;
    }
    return inode;
}

/* Watch for events of @name, or of all names if it is NULL. */
static void add_name(struct inode_watch *inode, const char *name)
{
    for (unsigned i = 0; i < inode->n_names && name != NULL; i++)
        if (streq(inode->names[i], name))
            return;
    if (name != NULL && inode->n_names < MAX_NAMES)
        inode->names[inode->n_names] = strdup(name);
    /* too many names, or out of memory: a scan too many does no harm */
    if (name == NULL || inode->n_names == MAX_NAMES || inode->names[inode->n_names] == NULL)
        inode->is_unfiltered = true;
    else
        inode->n_names++;
}

/*
 * @name: the name to watch in the directory @path, or NULL for all of @path
 * Return: 0; -ENOSPC or -ENOMEM. Other failures are ignored, such as that of a directory that may
 * be searched but not read.
 */
static int watch_path(struct dir_watch *w, const char *path, uint32_t mask, const char *name,
                      int *ret_wd)
{
    int wd = file_access_watch(w->fd, path, mask | IN_MASK_ADD);
    struct inode_watch *inode;

    if (wd < 0)
        return wd == -ENOSPC || wd == -ENOMEM ? wd : 0;
    inode = find_inode(w, wd);
    if (inode == NULL)
        inode = add_inode(w, wd);
    if (inode == NULL) {
        inotify_rm_watch(w->fd, wd);
        return -ENOMEM;
    }
    if (inode->generation != w->generation)
        drop_names(inode);
    inode->generation = w->generation;
    add_name(inode, name);
    if (ret_wd != NULL)
        *ret_wd = wd;
    return 0;
}

/* ---- walking a path */

struct walk {
    char done[PATH_MAX]; /* the part walked: absolute, without symlinks; "" is the root */
    char todo[PATH_MAX]; /* the rest of the path */
    unsigned n_symlinks;
};

/* Move the next name of the path to @name. Return: false at the end. */
static bool walk_next(struct walk *k, char name[static NAME_MAX + 1])
{
    const char *start = k->todo + strspn(k->todo, "/");
    size_t len = strcspn(start, "/");

    if (len == 0 || len > NAME_MAX)
        return false;
    memcpy(name, start, len);
    name[len] = '\0';
    memmove(k->todo, start + len, strlen(start + len) + 1);
    return true;
}

/* Put the target of the symlink @path in front of the rest. */
static int walk_symlink(struct walk *k, const char *path)
{
    char target[PATH_MAX], rest[PATH_MAX];
    int len = file_access_read_link(path, target, sizeof(target) - 1), n;

    if (len < 0)
        return len;
    if (++k->n_symlinks > MAX_SYMLINKS)
        return -ELOOP;
    target[len] = '\0';
    if (target[0] == '/')
        k->done[0] = '\0';
    memcpy(rest, k->todo, sizeof(rest));
    n = snprintf(k->todo, sizeof(k->todo), "%s/%s", target, rest);
    return n >= 0 && (size_t)n < sizeof(k->todo) ? 0 : -ENAMETOOLONG;
}

/* Look up @name in the part walked, and watch it. */
static int walk_enter(struct dir_watch *w, struct walk *k, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    int n, r;

    if (streq(name, "."))
        return 0;
    if (streq(name, "..")) {
        char *slash = strrchr(k->done, '/');

        if (slash != NULL)
            *slash = '\0';
        return 0;
    }
    r = watch_path(w, k->done[0] != '\0' ? k->done : "/", PATH_EVENTS, name, NULL);
    if (r < 0)
        return r;
    n = snprintf(path, sizeof(path), "%s/%s", k->done, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    r = file_access_stat(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &st);
    if (r < 0)
        return r;
    if (S_ISLNK(st.st_mode))
        return walk_symlink(k, path);
    memcpy(k->done, path, (size_t)n + 1);
    return 0;
}

/* Return: 0 and the path without symlinks in @k->done; -errno if part of it is missing. */
static int walk_path(struct dir_watch *w, struct walk *k, const char *path)
{
    char name[NAME_MAX + 1];
    int n = snprintf(k->todo, sizeof(k->todo), "%s", path);

    k->done[0] = '\0';
    k->n_symlinks = 0;
    if (n < 0 || (size_t)n >= sizeof(k->todo))
        return -ENAMETOOLONG;
    while (walk_next(k, name)) {
        int r = walk_enter(w, k, name);

        if (r < 0)
            return r;
    }
    return k->todo[strspn(k->todo, "/")] == '\0' ? 0 : -ENAMETOOLONG;
}

static int walk_failed(int code, const char *path, struct error *e)
{
    if (code == -ENOSPC)
        return error_set(e, code,
                         "cannot watch %.255s for changes: the limit of inotify watches is used "
                         "up: raise fs.inotify.max_user_watches with sysctl",
                         path);
    return error_set_errno(e, code, "cannot open %.255s", path);
}

int dir_watch_renew(struct dir_watch *watch, struct error *e)
{
    struct walk k;
    struct stat st;
    int r;

    assert(watch->fd >= 0);
    watch->generation++;
    watch->dir_wd = -1;
    watch->dev = 0;
    watch->ino = 0;
    r = walk_path(watch, &k, watch->path);
    if (r >= 0)
        r = watch_path(watch, k.done[0] != '\0' ? k.done : "/", PATH_EVENTS | CONTENT_EVENTS, NULL,
                       &watch->dir_wd);
    if (r >= 0)
        r = file_access_stat(AT_FDCWD, watch->path, 0, &st);
    if (r < 0)
        return walk_failed(r, watch->path, e);
    if (!S_ISDIR(st.st_mode))
        return walk_failed(-ENOTDIR, watch->path, e);
    watch->dev = st.st_dev;
    watch->ino = st.st_ino;
    return 0;
}

int dir_watch_follow(struct dir_watch *watch, const char *name, struct error *e)
{
    char path[PATH_MAX];
    struct walk k;
    int n = snprintf(path, sizeof(path), "%s/%s", watch->path, name);
    int r = n >= 0 && (size_t)n < sizeof(path) ? walk_path(watch, &k, path) : -ENAMETOOLONG;

    if (r >= 0)
        r = watch_path(watch, k.done, FILE_EVENTS, NULL, NULL);
    return r < 0 ? walk_failed(r, name, e) : 0;
}

void dir_watch_prune(struct dir_watch *watch)
{
    struct inode_watch *inode, *next;

    list_for_each_safe (inode, next, &watch->inodes, link) {
        if (inode->generation == watch->generation)
            continue;
        inotify_rm_watch(watch->fd, inode->wd);
        drop_inode(watch, inode);
    }
}

/* ---- events */

static bool is_watched(const struct inode_watch *inode, const char *name)
{
    if (inode->is_unfiltered || name == NULL)
        return true;
    for (unsigned i = 0; i < inode->n_names; i++)
        if (streq(inode->names[i], name))
            return true;
    return false;
}

static void take_event(struct dir_watch *w, const struct inotify_event *event, mono_us at)
{
    const char *name = event->len > 0 ? event->name : NULL;
    struct dir_event reported = {.mask = event->mask, .at = at};
    struct inode_watch *inode;

    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        w->changed(w->userdata, &reported);
        return;
    }
    /* not found: dropped a moment ago, with events still queued */
    inode = find_inode(w, event->wd);
    if (inode == NULL)
        return;
    if ((event->mask & IN_IGNORED) != 0) {
        if (inode->wd == w->dir_wd)
            w->dir_wd = -1;
        drop_inode(w, inode);
        w->changed(w->userdata, &reported);
        return;
    }
    if (!is_watched(inode, name))
        return;
    if (inode->wd == w->dir_wd)
        reported.name = name;
    w->changed(w->userdata, &reported);
}

static int on_inotify(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct dir_watch *w = userdata;
    _Alignas(struct inotify_event) char buf[READ_BYTES];
    ssize_t len = read(fd, buf, sizeof(buf));
    mono_us at = clock_mono();

    /* the rest is read in the loop's next turn */
    for (ssize_t i = 0; i < len;) {
        const struct inotify_event *event = (const struct inotify_event *)(const void *)(buf + i);

        take_event(w, event, at);
        i += (ssize_t)(sizeof(*event) + event->len);
    }
    return 0;
}

static int on_mounts(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct dir_watch *w = userdata;
    struct stat st = {.st_dev = 0};
    const struct dir_event reported = {.at = clock_mono()};

    if (file_access_stat(AT_FDCWD, w->path, 0, &st) < 0)
        st = (struct stat){.st_dev = 0};
    if (st.st_dev != w->dev || st.st_ino != w->ino)
        w->changed(w->userdata, &reported);
    return 0;
}

/* ---- the watch */

/* Without a mount table, mounts are noticed at the next event of inotify only. */
static int add_mounts_source(struct dir_watch *w, sd_event *event)
{
    int r;

    w->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (w->mounts_fd < 0) {
        log_debug("cannot watch the mount table", "error", strerrordesc_np(errno));
        return 0;
    }
    r = sd_event_add_io(event, &w->mounts_source, w->mounts_fd, EPOLLPRI, on_mounts, w);
    return r < 0 ? r : 0;
}

static int add_sources(struct dir_watch *w, sd_event *event)
{
    int r;

    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0)
        return negative_errno();
    r = sd_event_add_io(event, &w->inotify_source, w->fd, EPOLLIN, on_inotify, w);
    return r < 0 ? r : add_mounts_source(w, event);
}

int dir_watch_new(sd_event *event, const char *path, dir_watch_fn *changed, void *userdata,
                  struct dir_watch **ret_watch, struct error *e)
{
    _cleanup_(dir_watch_freep) struct dir_watch *w = calloc(1, sizeof(*w));
    int r = -ENOMEM;

    if (w != NULL) {
        w->changed = changed;
        w->userdata = userdata;
        w->fd = w->mounts_fd = w->dir_wd = -1;
        list_init(&w->inodes);
        w->path = strdup(path);
    }
    if (w != NULL && w->path != NULL)
        r = add_sources(w, event);
    if (r == -EMFILE)
        return error_set(e, r,
                         "cannot watch %.255s for changes: the limit of inotify instances or of "
                         "open files is used up: raise fs.inotify.max_user_instances with sysctl",
                         path);
    if (r < 0)
        return error_set_errno(e, r, "cannot watch %.255s for changes", path);
    *ret_watch = TAKE(w);
    return 0;
}

struct dir_watch *dir_watch_free(struct dir_watch *watch)
{
    struct inode_watch *inode, *next;

    if (watch == NULL)
        return NULL;
    sd_event_source_disable_unref(watch->inotify_source);
    sd_event_source_disable_unref(watch->mounts_source);
    list_for_each_safe (inode, next, &watch->inodes, link)
        drop_inode(watch, inode);
    watch->fd = fd_close(watch->fd);
    watch->mounts_fd = fd_close(watch->mounts_fd);
    free(watch->path);
    free(watch);
    return NULL;
}
