/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why warm reads cost no request:
 *
 *  - A node's content and name never change behind the kernel's back: files are immutable and every
 *    change of a directory is made through the mount (writer.c). So entries, attributes, links,
 *    listings and pages may be cached for ever; names that are not there as well.
 *  - open and opendir are answered with ENOSYS once. From then on the kernel opens without asking
 *    and keeps the pages and listings that it has (FUSE_CAP_NO_OPEN_SUPPORT, _NO_OPENDIR_SUPPORT).
 *  - What has no handler here is answered with ENOSYS by libfuse, which the kernel remembers too:
 *    access, xattrs, locks, lseek, and so on. flush is answered so as well, which also matters when
 *    a process dies that holds both the device and an open file of its own mount: it would wait for
 *    its own answer.
 *
 * A file system with live files (live_file.h) answers OPEN, so the kernel sends one for each
 * open(2):
 *
 *  - An immutable file is read through the kernel's pages there, too, which stay (KEEP_CACHE), and
 *    its attributes for ever.
 *  - Reads of a live file go past the pages (DIRECT_IO), to the version that the open file has.
 *    Pages are what mappings are made of. They belong to the inode and so show the newest content:
 *    a request for pages carries no lock owner, one of read(2) does. They stay as well, until the
 *    file is opened after an update, which is the one open without KEEP_CACHE. That is the
 *    publisher's, as opens wait for it, unless the file has no name through which it could.
 *  - The kernel sends no FLUSH (NOFLUSH), except for a file of which the thread may have two
 *    versions open (live_file_flush()).
 *  - Attributes of a live file are kept as long as there is no older version (live_switch.c).
 */
#include "fuse/operations.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>

#include "base/lock.h"

/* For ever: longer than a kernel's jiffies can count, which takes it as its maximum. */
#define CACHE_SECONDS 1e9

/* Of the request that this thread processes. */
static _Thread_local bool is_resent;
static _Thread_local uint64_t unique;

void operations_set_request(uint64_t request_unique, bool request_is_resent)
{
    unique = request_unique;
    is_resent = request_is_resent;
}

static struct operations *operations_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

static struct tree *tree_of(fuse_req_t req)
{
    return operations_of(req)->tree;
}

static bool is_publisher(fuse_req_t req)
{
    const struct operations *o = operations_of(req);
    int tid = fuse_req_ctx(req)->pid; /* 0: of another PID namespace */

    for (size_t i = 0; i < ELEMENTS_OF(o->publishers) && tid != 0; i++)
        if (atomic_load_explicit(&o->publishers[i], memory_order_relaxed) == tid)
            return true;
    return false;
}

static void replace_publisher(struct operations *o, int from, int to)
{
    for (size_t i = 0; i < ELEMENTS_OF(o->publishers); i++) {
        int expected = from;

        if (atomic_compare_exchange_strong(&o->publishers[i], &expected, to))
            return;
    }
    assert(false); /* publisher_pool.h limits their number */
}

void operations_add_publisher(struct operations *operations, int tid)
{
    replace_publisher(operations, 0, tid);
}

void operations_remove_publisher(struct operations *operations, int tid)
{
    replace_publisher(operations, tid, 0);
}

/* ---- replies */

static void reply_error(fuse_req_t req, int r)
{
    fuse_reply_err(req, r < 0 ? -r : 0);
}

/* Attributes stay for ever as well, except those of files that are about to change. */
static double attr_timeout(fuse_req_t req, const struct stat *stat)
{
    bool stays = !operations_of(req)->answers_open || !S_ISREG(stat->st_mode) ||
                 live_file_is_settled(tree_of(req), stat->st_ino);

    return stays ? CACHE_SECONDS : 0;
}

/* Reply with an entry, and drop its reference if the kernel does not take the reply. */
static void reply_entry(fuse_req_t req, int r, const struct stat *stat)
{
    struct tree *tree = tree_of(req);
    struct fuse_entry_param entry = {.entry_timeout = CACHE_SECONDS};

    if (r < 0 && r != -ENOENT) {
        reply_error(req, r);
        return;
    }
    if (r == 0) {
        entry.ino = stat->st_ino;
        entry.attr = *stat;
        entry.attr_timeout = attr_timeout(req, stat);
    }
    /* node id 0: the name is missing, which may be cached as well */
    if (fuse_reply_entry(req, &entry) < 0 && r == 0)
        tree_forget(tree, stat->st_ino, 1);
}

static void reply_stat(fuse_req_t req, int r, const struct stat *stat)
{
    if (r != 0)
        reply_error(req, r);
    else
        fuse_reply_attr(req, stat, attr_timeout(req, stat));
}

/* ---- reading */

/* DONT_MASK: the publisher sets exact modes; the process's umask does not apply. */
static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    static const unsigned wanted = FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT |
                                   FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_READDIRPLUS |
                                   FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ |
                                   FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_DONT_MASK;
    const struct operations *o = userdata;

    conn->want = conn->capable & wanted;
    /* a listing with attributes is made with the tree locked, where it is not known which stay */
    if (o->answers_open)
        conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS;
    conn->max_readahead = UINT32_MAX;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct stat stat;
    int r = -ENAMETOOLONG; /* the kernel passes on up to 1,024 bytes */

    if (strlen(name) <= PAYLOAD_ELEMENT_MAX)
        r = tree_lookup(tree_of(req), parent, name, &stat);
    reply_entry(req, r, &stat);
}

static void on_forget(fuse_req_t req, fuse_ino_t id, uint64_t n)
{
    tree_forget(tree_of(req), id, n);
    fuse_reply_none(req);
}

static void on_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        tree_forget(tree_of(req), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
}

/*
 * Have the kernel pass a reply to its caller alone. Otherwise it would also take the size of an
 * older version for the inode's, which mappings and sendfile(2) use; it does not if the attributes
 * were invalidated while the request was under way. The notification waits for nothing.
 */
static void keep_size(const struct operations *o, fuse_ino_t id)
{
    fuse_lowlevel_notify_inval_inode(o->fuse, id, -1, 0);
}

/* Return: NULL: open was not answered, or what it has made is closed already. */
static struct live_open *open_of(fuse_req_t req, const struct fuse_file_info *fi)
{
    return fi != NULL && fi->fh != 0 ? live_file_find_open(tree_of(req), fi->fh) : NULL;
}

/* Return: the same of a live file; NULL for an immutable one. */
static struct live_open *version_of(fuse_req_t req, const struct fuse_file_info *fi)
{
    return fi != NULL && fi->fh != 0 ? live_file_find_version(tree_of(req), fi->fh) : NULL;
}

static void on_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    const struct operations *o = operations_of(req);
    const struct live_open *open = version_of(req, fi);
    struct stat stat;
    int r = tree_stat(o->tree, id, &stat);

    if (r == 0 && open != NULL)
        live_open_stat(open, &stat); /* lseek(2) to the end says which one it is about */
    else if (r == 0 && o->answers_open && S_ISREG(stat.st_mode) &&
             live_file_stat(o->tree, fuse_req_ctx(req)->pid, &stat))
        keep_size(o, id);
    reply_stat(req, r, &stat);
}

static void on_readlink(fuse_req_t req, fuse_ino_t id)
{
    _cleanup_(freep) char *target = NULL;
    int r = tree_readlink(tree_of(req), id, &target);

    if (r < 0)
        reply_error(req, r);
    else
        fuse_reply_readlink(req, target);
}

static void on_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    reply_error(req, -ENOSYS);
}

/* ---- open files */

struct waiting_open {
    struct list link;
    fuse_req_t req;
    fuse_ino_t id;
    struct live_opener opener;
    struct fuse_file_info fi;
};

static void reply_open(fuse_req_t req, struct live_open *open, struct fuse_file_info *fi)
{
    const struct live_open_info info = live_file_info(tree_of(req), open);

    fi->fh = info.handle;
    fi->direct_io = !info.is_cached;
    fi->keep_cache = info.is_cached || !info.drops_pages;
    fi->noflush = !info.needs_flush;
    if (fuse_reply_open(req, fi) < 0)
        live_file_close(tree_of(req), open);
}

/* Return: whether the open is to wait. */
static bool try_open(fuse_req_t req, fuse_ino_t id, const struct live_opener *opener,
                     struct fuse_file_info *fi)
{
    struct live_open *open = NULL;
    int r = live_file_open(tree_of(req), id, opener, &open);

    if (r == -EAGAIN)
        return true;
    if (r < 0)
        reply_error(req, r);
    else
        reply_open(req, open, fi);
    return false;
}

/*
 * Try once more under the lock: the end of a switch is followed by operations_resume_opens(), which
 * takes the lock, so that it finds the open waiting. Return: whether it waits.
 */
static bool wait_for_switch(struct waiting_opens *waiting, struct waiting_open *open)
{
    LOCK_GUARD(&waiting->lock);
    if (!try_open(open->req, open->id, &open->opener, &open->fi))
        return false;
    list_append(&waiting->all, &open->link);
    return true;
}

static void wait_or_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    const struct live_opener opener = {
        .unique = unique, .thread = fuse_req_ctx(req)->pid, .may_wait = !is_publisher(req)};
    struct operations *o = operations_of(req);
    struct waiting_open *open;

    if (!try_open(req, id, &opener, fi))
        return;
    open = malloc(sizeof(*open));
    if (open == NULL) {
        reply_error(req, -ENOMEM);
        return;
    }
    *open = (struct waiting_open){.req = req, .id = id, .opener = opener, .fi = *fi};
    list_init(&open->link);
    if (!wait_for_switch(&o->waiting, open))
        free(open);
}

/*
 * The earlier process may have opened it and not answered. To its publisher, which waits for the
 * answer and ends with it, that is a failure: this process's announces the change.
 */
static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    const struct operations *o = operations_of(req);
    bool is_refused = (fi->flags & O_ACCMODE) != O_RDONLY && !is_publisher(req);
    struct live_open *open;

    if (!o->answers_open) {
        reply_error(req, -ENOSYS); /* and the kernel never asks again */
        return;
    }
    open = is_resent ? live_file_find_request(o->tree, unique) : NULL;
    if (open != NULL && is_refused)
        live_file_close(o->tree, open);
    if (is_refused)
        reply_error(req, -EROFS);
    else if (open != NULL)
        reply_open(req, open, fi);
    else
        wait_or_open(req, id, fi);
}

/* Return: the first of those that wait, or NULL. */
static struct waiting_open *take_waiting(struct list *all)
{
    struct waiting_open *open;

    if (list_is_empty(all))
        return NULL;
    open = list_entry(all->next, struct waiting_open, link);
    list_remove(&open->link);
    return open;
}

void operations_resume_opens(struct operations *operations)
{
    struct list again = LIST_INIT(again);
    struct waiting_open *open;

    LOCK_GUARD(&operations->waiting.lock);
    while ((open = take_waiting(&operations->waiting.all)) != NULL)
        if (try_open(open->req, open->id, &open->opener, &open->fi))
            list_append(&again, &open->link); /* of another volume, or the next switch */
        else
            free(open);
    while ((open = take_waiting(&again)) != NULL)
        list_append(&operations->waiting.all, &open->link);
}

static void on_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    struct live_open *open = open_of(req, fi);

    if (open == NULL || !live_file_info(tree_of(req), open).needs_flush) {
        reply_error(req, -ENOSYS); /* and the kernel never asks again; it does not know NOFLUSH */
        return;
    }
    live_file_flush(tree_of(req), open);
    reply_error(req, 0);
}

static void on_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi)
{
    struct live_open *open = open_of(req, fi);

    if (open != NULL) /* the earlier process may have closed it */
        live_file_close(tree_of(req), open);
    reply_error(req, 0);
}

static void read_version(fuse_req_t req, struct live_open *open, size_t size, off_t offset)
{
    struct file_content part;
    int r = live_file_read(tree_of(req), open, (size_t)offset, size, &part);

    if (r < 0) {
        reply_error(req, r);
        return;
    }
    fuse_reply_buf(req, (const char *)part.bytes, part.len);
    object_unref(part.object);
}

/* The bytes go to the kernel straight out of the object's locked memory. */
static void read_node(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset)
{
    struct file_content content;
    size_t begin;
    int r = tree_read(tree_of(req), id, &content);

    if (r < 0) {
        reply_error(req, r);
        return;
    }
    begin = size_min((size_t)offset, content.len);
    fuse_reply_buf(req, (const char *)content.bytes + begin, size_min(size, content.len - begin));
    object_unref(content.object);
}

static void on_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                    struct fuse_file_info *fi)
{
    struct live_open *open = version_of(req, fi);
    bool is_for_pages = fi->lock_owner == 0;

    if (open != NULL && !is_for_pages) {
        read_version(req, open, size, offset);
        return;
    }
    if (open != NULL)
        live_file_note_pages(tree_of(req), open);
    read_node(req, id, size, offset);
}

struct listing {
    fuse_req_t req;
    char *buf;
    size_t size;
    size_t used;
    bool is_plus;
};

static bool add_entry(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    struct listing *l = userdata;
    char *at = l->buf + l->used;
    size_t room = l->size - l->used, need;

    if (l->is_plus) {
        const struct fuse_entry_param entry = {.ino = stat->st_ino,
                                               .attr = *stat,
                                               .attr_timeout = attr_timeout(l->req, stat),
                                               .entry_timeout = CACHE_SECONDS};

        need = fuse_add_direntry_plus(l->req, at, room, name, &entry, (off_t)cookie);
    } else {
        need = fuse_add_direntry(l->req, at, room, name, stat, (off_t)cookie);
    }
    if (need > room)
        return false;
    l->used += need;
    return true;
}

static void list_directory(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset, bool is_plus)
{
    _cleanup_(freep) char *buf = malloc(size);
    struct listing l = {.req = req, .buf = buf, .size = size, .is_plus = is_plus};
    int r;

    if (buf == NULL) {
        reply_error(req, -ENOMEM);
        return;
    }
    r = tree_readdir(tree_of(req), id, (uint64_t)offset, is_plus, add_entry, &l);
    if (r < 0)
        reply_error(req, r);
    else
        fuse_reply_buf(req, buf, l.used);
}

static void on_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                       struct fuse_file_info *fi)
{
    list_directory(req, id, size, offset, false);
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t offset,
                           struct fuse_file_info *fi)
{
    list_directory(req, id, size, offset, true);
}

/* df shows a full file system of the content's size, as no caller can add to it. */
static void on_statfs(fuse_req_t req, fuse_ino_t id)
{
    struct tree_usage usage = tree_usage(tree_of(req));
    const struct statvfs numbers = {
        .f_bsize = 4096,
        .f_frsize = 4096,
        .f_blocks = (usage.content_bytes + 4095) / 4096,
        .f_files = usage.n_nodes,
        .f_namemax = PAYLOAD_ELEMENT_MAX,
    };

    fuse_reply_statfs(req, &numbers);
}

/* ---- changes that the publisher of an earlier process has requested */

/*
 * Its thread waits in the kernel for the answer, and nothing else can end it. The request was
 * carried out as a whole or not at all, and the kernel has to learn which, or it would keep a name
 * that the tree has, or has no more, for ever. A node that was made is found by its name and kind.
 */
static void reply_made(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t type)
{
    bool may_be_made = is_resent || is_publisher(req);
    struct stat stat;
    int r = may_be_made ? tree_lookup(tree_of(req), parent, name, &stat) : -EROFS;

    if (r == 0 && (stat.st_mode & S_IFMT) != type) {
        tree_forget(tree_of(req), stat.st_ino, 1);
        r = -EROFS;
    }
    if (r < 0)
        reply_error(req, -EROFS);
    else
        reply_entry(req, 0, &stat);
}

static bool exists(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct stat ignored;

    return tree_find(tree_of(req), parent, name, &ignored) == 0;
}

static void reply_removed(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    reply_error(req, is_resent && !exists(req, parent, name) ? 0 : -EROFS);
}

/*
 * ---- writing, for the publisher
 *
 * The kernel sends MKDIR and SYMLINK for names that it takes for free, and UNLINK, RMDIR and RENAME
 * for those that it has. If the tree knows better, it has missed the answer of an earlier process,
 * and the publisher repeats the call (replay.c).
 */

static void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct stat stat;
    int r = -EEXIST;

    if (is_publisher(req))
        r = tree_mkdir(tree_of(req), fuse_req_ctx(req)->pid, parent, name, mode & 07777, &stat);
    if (r == -EEXIST)
        reply_made(req, parent, name, S_IFDIR);
    else
        reply_entry(req, r, &stat);
}

static void on_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct stat stat;
    int r = -EEXIST;

    if (is_publisher(req))
        r = tree_symlink(tree_of(req), parent, name, target, &stat);
    if (r == -EEXIST)
        reply_made(req, parent, name, S_IFLNK);
    else
        reply_entry(req, r, &stat);
}

/*
 * A live file is exchanged with its copy, which has the file's id as its name: the tree tells
 * whether that was done.
 */
static bool is_exchanged(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct stat stat;

    return tree_find(tree_of(req), parent, name, &stat) == 0 &&
           strtoull(name, NULL, 10) == stat.st_ino;
}

/* Whether the tree has what a rename that is sent again was to make. */
static bool is_renamed(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                       const char *new_name, unsigned flags)
{
    if (flags == RENAME_EXCHANGE)
        return is_exchanged(req, parent, name);
    return flags == 0 && !exists(req, parent, name) && exists(req, new_parent, new_name);
}

static void on_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
    int r = -EROFS;

    if (is_publisher(req) && flags == RENAME_EXCHANGE)
        r = tree_exchange(tree_of(req), parent, name, new_parent, new_name);
    else if (is_publisher(req))
        r = flags != 0 ? -EINVAL : tree_rename(tree_of(req), parent, name, new_parent, new_name);
    if ((is_resent || r == -ENOENT) && is_renamed(req, parent, name, new_parent, new_name, flags))
        r = 0;
    reply_error(req, r);
}

static void on_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int r;

    if (!is_publisher(req)) {
        reply_removed(req, parent, name);
        return;
    }
    r = tree_unlink(tree_of(req), parent, name);
    reply_error(req, r == -ENOENT ? 0 : r);
}

static void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int r;

    if (!is_publisher(req)) {
        reply_removed(req, parent, name);
        return;
    }
    r = tree_rmdir(tree_of(req), parent, name);
    reply_error(req, r == -ENOENT ? 0 : r);
}

/* A file may be truncated to the size that it has: that raises MODIFY (inotify_events.c). */
static bool is_size(struct tree *tree, fuse_ino_t id, off_t size)
{
    struct stat stat;

    return tree_stat(tree, id, &stat) == 0 && stat.st_size == size;
}

static int set_attributes(struct tree *tree, fuse_ino_t id, const struct stat *attr, int to_set)
{
    static const int accepted = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
                                FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_CTIME;
    int r = 0;

    if ((to_set & ~accepted) != 0 ||
        ((to_set & FUSE_SET_ATTR_SIZE) != 0 && !is_size(tree, id, attr->st_size)))
        return -EROFS;
    if ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0)
        r = tree_chown(tree, id, (to_set & FUSE_SET_ATTR_UID) != 0 ? attr->st_uid : (uid_t)-1,
                       (to_set & FUSE_SET_ATTR_GID) != 0 ? attr->st_gid : (gid_t)-1);
    if (r == 0 && (to_set & FUSE_SET_ATTR_MODE) != 0)
        r = tree_chmod(tree, id, attr->st_mode);
    return r;
}

/* Whether a node has the attributes that a request which is sent again was to set. */
static bool has_attributes(struct tree *tree, fuse_ino_t id, const struct stat *attr, int to_set)
{
    struct stat stat;

    return tree_stat(tree, id, &stat) == 0 &&
           ((to_set & FUSE_SET_ATTR_MODE) == 0 || ((stat.st_mode ^ attr->st_mode) & 07777) == 0) &&
           ((to_set & FUSE_SET_ATTR_UID) == 0 || stat.st_uid == attr->st_uid) &&
           ((to_set & FUSE_SET_ATTR_GID) == 0 || stat.st_gid == attr->st_gid) &&
           ((to_set & FUSE_SET_ATTR_SIZE) == 0 || stat.st_size == attr->st_size);
}

static void on_setattr(fuse_req_t req, fuse_ino_t id, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
    struct tree *tree = tree_of(req);
    struct stat stat;
    int r = -EROFS;

    if (is_publisher(req))
        r = set_attributes(tree, id, attr, to_set);
    else if (is_resent && has_attributes(tree, id, attr, to_set))
        r = 0;
    if (r == 0 && (to_set & FUSE_SET_ATTR_SIZE) != 0)
        live_file_announce(tree, id);
    if (r == 0)
        r = tree_stat(tree, id, &stat);
    reply_stat(req, r, &stat);
}

/* It makes what tree_stage_node() has staged. */
static void on_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct stat stat;

    if (is_publisher(req) && S_ISREG(mode))
        reply_entry(req, tree_mknod(tree_of(req), fuse_req_ctx(req)->pid, parent, name, &stat),
                    &stat);
    else
        reply_made(req, parent, name, S_IFREG);
}

/* ---- writing, refused to every caller */

static void on_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
    reply_error(req, -EROFS);
}

static void on_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t new_parent, const char *new_name)
{
    reply_error(req, -EROFS);
}

static void on_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t offset,
                     struct fuse_file_info *fi)
{
    reply_error(req, -EROFS);
}

/* ---- the table */

void operations_init(struct operations *operations, struct tree *tree, bool answers_open)
{
    operations->tree = tree;
    operations->answers_open = answers_open;
    pthread_mutex_init(&operations->waiting.lock, NULL);
    list_init(&operations->waiting.all);
}

/* No open waits: publishers end their switches, and end before the session. */
void operations_deinit(struct operations *operations)
{
    assert(list_is_empty(&operations->waiting.all));
    live_file_close_all(operations->tree);
    pthread_mutex_destroy(&operations->waiting.lock);
}

const struct fuse_lowlevel_ops operations_table = {
    .init = on_init,
    .lookup = on_lookup,
    .forget = on_forget,
    .forget_multi = on_forget_multi,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readlink = on_readlink,
    .mknod = on_mknod,
    .mkdir = on_mkdir,
    .unlink = on_unlink,
    .rmdir = on_rmdir,
    .symlink = on_symlink,
    .rename = on_rename,
    .link = on_link,
    .open = on_open,
    .flush = on_flush,
    .release = on_release,
    .read = on_read,
    .write = on_write,
    .opendir = on_opendir,
    .readdir = on_readdir,
    .readdirplus = on_readdirplus,
    .statfs = on_statfs,
    .create = on_create,
};
