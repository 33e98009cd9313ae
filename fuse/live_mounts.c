/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is mounted alone is the inode of one generation. To become live it is taken out of
 * that generation, whose content stays the same:
 *
 *     mknod  .live/ID                        a copy of the file, under its node id
 *     rename .live/ID <-> VOLUME/..TS/key    RENAME_EXCHANGE
 *
 * Readers of the generation get the copy. The inode that is mounted has a name in LIVE_DIRECTORY,
 * in the root of the file system, which no pod can reach, and its content changes with every update
 * from now on.
 *
 *  - A link beside it, .live/ID.from -> VOLUME/key, says for the next process what it is.
 *  - It keeps a name because the kernel attaches no mount whose root is unlinked, and the container
 *    runtime clones the kubelet's mount a moment later.
 *  - It is exchanged as soon as a scan finds its mount, because its inode is not in use yet then: a
 *    watcher would get MOVE_SELF, which many programs take for the end of the file.
 *  - A process that lists a directory may hold its lock for ever (publisher_pool.c), and an
 *    exchange that waits for one directory holds the file system's lock of renames between
 *    directories, so that each other exchange waits as well. So a step of the volume itself waits
 *    for the directory before it begins (await_directory()), without this file's lock. As a second
 *    process can take the directory's lock between the two, one exchange is under way at a time,
 *    and a part of another volume that would wait for it is deferred: it stays pending until that
 *    exchange has ended. A file whose generation is removed meanwhile becomes live where it is,
 *    without a name; the generation of a directory stays.
 *  - A directory is exchanged with all that is below it, and updated like a volume that changes in
 *    place (live_update.c). Its parts come first, as they would be moved with it.
 *  - When a scan finds no mount of it any more, the kernel drops the name without an event
 *    (NOTIFY_ENTRY). A container that still holds the inode gets updates until the kernel forgets
 *    it.
 *  - A part of a generation that has been removed ("//deleted" in mountinfo) is found by the path
 *    that its node remembers. So is one whose generation was removed after the scan had read its
 *    root, as no further scan would follow.
 *
 * What was tried and does not work: exchanging mounts in the namespaces of containers, which can be
 * turned against the node; FUSE passthrough to a memfd per version, as an inode has one backing
 * file, and beside a reader of the old version all other opens fail with EIO; dropping the name or
 * unlinking in place of the exchange, see above.
 */
#include "fuse/live_mounts.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <search.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "fuse/live_file.h"
#include "fuse/mount_root.h"
#include "fuse/names.h"

#define UNUSED_NAME   "..unused" /* no key begins with two dots */
#define ORIGIN        ".from"    /* follows the name of a node in LIVE_DIRECTORY */
#define LOCATION_SIZE (sizeof(LIVE_DIRECTORY) + 24 + sizeof(ORIGIN))

/* A volume that has members, or had some at the last visit. */
struct member_volume {
    struct list link; /* in live_mounts.volumes */
    char *name;
    struct list members; /* LIVE_MOUNTS_MAX at most; as many as are mounted if none can follow */
    struct list pending; /* those that live_mounts_follow() is to take out, in this order */
    size_t n_members;
    size_t n_mounted;
    size_t n_visited; /* what n_mounted was at the last visit */
    bool is_behind;
};

struct member {
    struct live_mounts *mounts;
    struct list link;    /* in live_mounts.all */
    struct list sibling; /* in its volume's members */
    struct list pending; /* in its volume's pending */
    char *pending_path;  /* path from the root of the file system, while it is in there */
    struct member_volume *volume;
    char *path;
    uint64_t id;
    bool is_directory;
    bool is_linked;   /* in LIVE_DIRECTORY */
    mono_us taken_at; /* out of its generation */
    char *taken_from; /* path from the root of the file system, while in live_mounts.taken */
    bool is_live;     /* false: out of memory, the next scan retries */
    bool is_mounted;  /* according to the last scan */
};

/*
 * There may be tens of thousands of members (mount_monitor.c), and updates wait for
 * live_mounts_reconcile(). So no step for one member walks all of them.
 */
struct live_mounts {
    struct session *session;
    struct tree *tree;
    bool can_follow;
    pthread_mutex_t lock; /* what follows, and members */
    struct list all;      /* members of all volumes */
    void *by_id;          /* tsearch(3) tree of the same; empty if none can follow */
    void *taken;          /* by taken_from: those that the next scan may still show there */
    struct list volumes;  /* of members; empty ones until the next visit */
    void *by_name;        /* tsearch(3) tree of the same */
    bool has_directory;
    bool is_exchanging;
    bool has_deferred; /* parts are pending that were not exchanged, as an exchange was under way */
    bool has_warned;   /* that a part does not follow updates */
    bool is_failing;   /* a part does not, since the last scan, or was deferred */
};

/* ---- volumes */

static int compare_names(const void *a, const void *b)
{
    const struct member_volume *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static struct member_volume *volume_by_name(const struct live_mounts *mounts, const char *name)
{
    char *mutable_name = strdupa(name);
    const struct member_volume like = {.name = mutable_name};
    struct member_volume *const *found = tfind(&like, &mounts->by_name, compare_names);

    return found != NULL ? *found : NULL;
}

/* Return: 0, *ret_volume is that of the name, made if there is none; -ENOMEM. */
static int volume_get(struct live_mounts *mounts, const char *name,
                      struct member_volume **ret_volume)
{
    struct member_volume *v = volume_by_name(mounts, name);

    *ret_volume = v;
    if (v != NULL)
        return 0;
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return -ENOMEM;
    list_init(&v->members);
    list_init(&v->pending);
    v->name = strdup(name);
    if (v->name == NULL || tsearch(v, &mounts->by_name, compare_names) == NULL) {
        free(v->name);
        free(v);
        return -ENOMEM;
    }
    list_append(&mounts->volumes, &v->link);
    *ret_volume = v;
    return 0;
}

static void volume_free(struct live_mounts *mounts, struct member_volume *v)
{
    assert(v->n_members == 0 && v->n_mounted == 0);
    tdelete(v, &mounts->by_name, compare_names);
    list_remove(&v->link);
    free(v->name);
    free(v);
}

/* ---- members */

static int compare_ids(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return x->id == y->id ? 0 : x->id < y->id ? -1 : 1;
}

static int compare_taken(const void *a, const void *b)
{
    const struct member *x = a, *y = b;

    return strcmp(x->taken_from, y->taken_from);
}

static struct member *member_by_id(const struct live_mounts *mounts, uint64_t id)
{
    const struct member like = {.id = id};
    struct member *const *found = tfind(&like, &mounts->by_id, compare_ids);

    return found != NULL ? *found : NULL;
}

static void set_mounted(struct member *m, bool is_mounted)
{
    assert(m->volume->n_mounted >= m->is_mounted);
    m->volume->n_mounted -= m->is_mounted;
    m->is_mounted = is_mounted;
    m->volume->n_mounted += m->is_mounted;
}

static void forget_taken_from(struct member *m)
{
    if (m->taken_from == NULL)
        return;
    tdelete(m, &m->mounts->taken, compare_taken);
    free(m->taken_from);
    m->taken_from = NULL;
}

static struct member *member_free(struct member *m)
{
    if (m == NULL)
        return NULL;
    forget_taken_from(m);
    tdelete(m, &m->mounts->by_id, compare_ids);
    set_mounted(m, false);
    assert(m->volume->n_members > 0);
    m->volume->n_members--;
    list_remove(&m->pending);
    list_remove(&m->sibling);
    list_remove(&m->link);
    free(m->pending_path);
    free(m->path);
    free(m);
    return NULL;
}
DEFINE_CLEANUP(struct member *, member_free)

/* The node must not have a member yet, unless none can follow. */
static int member_new(struct live_mounts *mounts, struct member_volume *volume, const char *path,
                      const struct stat *status, struct member **ret_member)
{
    _cleanup_(member_freep) struct member *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return -ENOMEM;
    m->mounts = mounts;
    m->volume = volume;
    m->id = status->st_ino;
    m->is_directory = S_ISDIR(status->st_mode);
    list_init(&m->pending);
    list_append(&mounts->all, &m->link);
    list_append(&volume->members, &m->sibling);
    volume->n_members++;
    set_mounted(m, true);
    m->path = strdup(path);
    if (m->path == NULL || (mounts->can_follow && tsearch(m, &mounts->by_id, compare_ids) == NULL))
        return -ENOMEM;
    *ret_member = TAKE(m);
    return 0;
}

static void location_of(uint64_t id, char location[static LOCATION_SIZE])
{
    snprintf(location, LOCATION_SIZE, LIVE_DIRECTORY "/%" PRIu64, id);
}

/* ---- becoming live */

/* The next process does not know it of what is not in the directory of its volume. */
static void set_volume(const struct live_mounts *mounts, const struct member *m)
{
    const char *name = m->volume->name;
    struct stat directory;

    if (tree_find_path(mounts->tree, TREE_ROOT_ID, streq(name, ".") ? "" : name, &directory) == 0)
        live_file_set_volume(mounts->tree, m->id, directory.st_ino);
}

static int make_live(const struct live_mounts *mounts, struct member *m)
{
    int r = m->is_live ? 0 : live_file_make(mounts->tree, m->id);

    if (r == 0 && !m->is_live)
        set_volume(mounts, m);
    m->is_live = r == 0;
    m->volume->is_behind = true;
    return r;
}

/*
 * @root: is_deleted is set if it is by now
 * @ret_path: from the root of the file system
 * Return: 0, *ret_status is the node's; -ENOENT; -ENOMEM.
 */
static int find_node(const struct live_mounts *mounts, struct mount_root *root, char **ret_path,
                     struct stat *ret_status)
{
    _cleanup_(freep) char *generation = names_join(root->volume, root->generation);
    int r = -ENOENT;

    *ret_path = generation != NULL ? names_join(generation, root->path) : NULL;
    if (*ret_path == NULL)
        return -ENOMEM;
    if (!root->is_deleted)
        r = tree_find_path(mounts->tree, TREE_ROOT_ID, *ret_path, ret_status);
    if (r < 0) {
        r = tree_find_unlinked(mounts->tree, *ret_path, ret_status);
        root->is_deleted = true;
    }
    if (r == 0 && S_ISDIR(ret_status->st_mode) && root->is_deleted)
        return -ENOENT; /* the kernel creates nothing in it any more */
    return r == 0 && S_ISLNK(ret_status->st_mode) ? -ENOENT : r;
}

/* What is below a directory comes before it, as it would be moved with it. */
static void add_pending(struct member *m)
{
    struct list *after, *head = &m->volume->pending;

    for (after = head->prev; after != head; after = after->prev)
        if (strcmp(list_entry(after, struct member, pending)->pending_path, m->pending_path) >= 0)
            break;
    list_append(after->next, &m->pending);
}

/* A file that changes in place is live in its generation. */
static int begin_following(struct live_mounts *mounts, const struct mount_root *root,
                           const char *path, struct member *m)
{
    if (m->volume->n_members > LIVE_MOUNTS_MAX) /* with it */
        return -ENOSPC;
    if (root->is_deleted || live_file_is_live(mounts->tree, m->id))
        return make_live(mounts, m);
    m->pending_path = strdup(path);
    if (m->pending_path == NULL)
        return -ENOMEM;
    add_pending(m);
    return 0;
}

/*
 * A scan that began before a part was taken out shows it at its old path, and what is below a
 * directory as well. By now the copy has that path, which is not mounted.
 */
static bool is_outdated(const struct live_mounts *mounts, const char *path)
{
    char *above = strdupa(path), *slash;
    const struct member like = {.taken_from = above};

    while (tfind(&like, &mounts->taken, compare_taken) == NULL) {
        slash = strrchr(above, '/');
        if (slash == NULL)
            return false;
        *slash = '\0';
    }
    return true;
}

static int add_member(struct live_mounts *mounts, struct mount_root *root)
{
    _cleanup_(member_freep) struct member *m = NULL;
    _cleanup_(freep) char *path = NULL;
    struct member_volume *volume;
    struct member *known;
    struct stat status;
    int r = find_node(mounts, root, &path, &status);

    if (r < 0)
        return r;
    if (is_outdated(mounts, path))
        return 0;
    known = member_by_id(mounts, status.st_ino);
    if (known != NULL) {
        set_mounted(known, true);
        return 0;
    }
    r = volume_get(mounts, root->volume, &volume);
    if (r == 0)
        r = member_new(mounts, volume, root->path, &status, &m);
    if (r == 0 && mounts->can_follow)
        r = begin_following(mounts, root, path, m);
    if (r == 0)
        m = NULL; /* keep it */
    return r;
}

static int note_live_root(struct live_mounts *mounts, uint64_t id)
{
    struct member *m = member_by_id(mounts, id);

    if (m == NULL)
        return 0;
    set_mounted(m, true);
    return m->is_live ? 0 : make_live(mounts, m);
}

static void report_failure(struct live_mounts *mounts, const char *volume, const char *path, int r)
{
    mounts->is_failing = true;
    if (!mounts->has_warned)
        log_warn("a file or directory that is mounted alone does not follow updates", "volume",
                 volume, "path", path, "error", strerror(-r));
    mounts->has_warned = true; /* once, until all follow again */
}

static void note_root(struct live_mounts *mounts, const char *text)
{
    _cleanup_(freep) char *copy = strdup(text);
    struct mount_root root;
    int r;

    if (copy == NULL || !mount_root_parse(copy, &root))
        return;
    r = root.live_id != 0 ? note_live_root(mounts, root.live_id) : add_member(mounts, &root);
    if (r < 0 && r != -ENOENT)
        report_failure(mounts, root.volume, root.path, r);
}

/* ---- release */

/* Remove a name in LIVE_DIRECTORY without an event; the kernel may have one that is gone. */
static void forget_name(const struct live_mounts *mounts, const char *name)
{
    struct notification forget = {.kind = NOTIFY_ENTRY, .name = name};
    struct stat directory, node;

    if (tree_find(mounts->tree, TREE_ROOT_ID, LIVE_DIRECTORY, &directory) < 0)
        return;
    if (tree_find(mounts->tree, directory.st_ino, name, &node) == 0)
        tree_detach(mounts->tree, node.st_ino);
    forget.id = directory.st_ino;
    session_notify(mounts->session, &forget, 1);
}

static void release_name(const struct live_mounts *mounts, uint64_t id)
{
    char name[LOCATION_SIZE];

    snprintf(name, sizeof(name), "%" PRIu64, id);
    forget_name(mounts, name);
    snprintf(name, sizeof(name), "%" PRIu64 ORIGIN, id);
    forget_name(mounts, name);
}

static void unlink_member(struct live_mounts *mounts, struct member *m)
{
    if (m->is_linked)
        release_name(mounts, m->id);
    m->is_linked = false;
}

static void drop_unused(struct live_mounts *mounts)
{
    struct member *m, *tmp;
    struct stat status;

    list_for_each_safe (m, tmp, &mounts->all, link) {
        if (!m->is_mounted)
            unlink_member(mounts, m);
        if (!m->is_mounted && (!mounts->can_follow || tree_stat(mounts->tree, m->id, &status) < 0))
            member_free(m);
    }
}

static int compare_roots(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*y, *x);
}

/*
 * What was taken out before this scan began is not shown at its old path any more. A failure since
 * the last scan is warned of no more.
 */
static void begin_scan(struct live_mounts *mounts, mono_us began_at)
{
    struct member *m;

    list_for_each (m, &mounts->all, link) {
        set_mounted(m, m->is_linked && m->taken_at >= began_at);
        if (m->taken_at < began_at)
            forget_taken_from(m);
    }
    mounts->has_warned = mounts->is_failing;
    mounts->is_failing = mounts->is_failing && mounts->has_deferred;
}

void live_mounts_reconcile(struct live_mounts *mounts, struct mounted_parts *parts)
{
    LOCK_GUARD(&mounts->lock);
    /* in the order of add_pending() */
    if (parts->n > 0)
        qsort(parts->roots, parts->n, sizeof(*parts->roots), compare_roots);
    begin_scan(mounts, parts->began_at);
    if (!mounts->can_follow)
        drop_unused(mounts); /* each is counted again */
    for (size_t i = 0; i < parts->n; i++)
        if (!mounts->can_follow || i == 0 || !streq(parts->roots[i], parts->roots[i - 1]))
            note_root(mounts, parts->roots[i]);
    drop_unused(mounts);
}

/* ---- taking out; without the lock, unless said otherwise */

/* A part that is taken out; the lock is given up meanwhile, so its member may go. */
struct taking {
    uint64_t id;
    bool is_directory;
    char *path; /* from the root of the file system */
};

static struct member_volume *first_with_pending(const struct live_mounts *mounts)
{
    struct member_volume *v;

    list_for_each (v, &mounts->volumes, link)
        if (!list_is_empty(&v->pending))
            return v;
    return NULL;
}

/* Return: false when none of the volume is pending. */
static bool take_pending(struct live_mounts *mounts, const char *volume, struct taking *ret_taking)
{
    struct member_volume *v;
    struct member *m;

    LOCK_GUARD(&mounts->lock);
    v = volume != NULL ? volume_by_name(mounts, volume) : first_with_pending(mounts);
    if (v == NULL || list_is_empty(&v->pending))
        return false;
    m = list_entry(v->pending.next, struct member, pending);
    list_remove(&m->pending);
    *ret_taking = (struct taking){
        .id = m->id, .is_directory = m->is_directory, .path = TAKE(m->pending_path)};
    return true;
}

/*
 * Wait for the lock that a process which lists the directory holds, and hold none meanwhile: the
 * removal of a name that does not exist needs that lock alone, and raises no event.
 */
static void await_directory(int root_fd, const char *directory)
{
    _cleanup_(freep) char *path = names_join(directory, UNUSED_NAME);

    if (path != NULL)
        unlinkat(root_fd, path, 0);
}

static void await_directories(int root_fd, const struct taking *taking)
{
    char *above = strdupa(taking->path), *slash = strrchr(above, '/');

    if (slash != NULL)
        *slash = '\0';
    await_directory(root_fd, slash != NULL ? above : ".");
    if (taking->is_directory)
        await_directory(root_fd, taking->path);
}

static int make_live_directory(struct live_mounts *mounts, int root_fd)
{
    bool has_directory;

    {
        LOCK_GUARD(&mounts->lock);
        has_directory = mounts->has_directory;
    }
    if (!has_directory && mkdirat(root_fd, LIVE_DIRECTORY, 0700) < 0 && errno != EEXIST)
        return negative_errno();
    LOCK_GUARD(&mounts->lock);
    mounts->has_directory = true;
    return 0;
}

/* @path: from the root of the file system, with the generation */
static int make_origin(int root_fd, const struct taking *taking)
{
    _cleanup_(freep) char *copy = strdup(taking->path), *target = NULL;
    char location[LOCATION_SIZE];
    struct mount_root root;

    if (copy == NULL || !mount_root_parse_path(copy, &root) ||
        asprintf(&target, "%s/%s", root.volume, root.path) < 0)
        return -ENOMEM;
    snprintf(location, sizeof(location), LIVE_DIRECTORY "/%" PRIu64 ORIGIN, taking->id);
    return symlinkat(target, root_fd, location) < 0 && errno != EEXIST ? negative_errno() : 0;
}

/* The mknod or mkdir of the top comment. */
static int make_copy(const struct live_mounts *mounts, int root_fd, const struct taking *taking,
                     const char *location)
{
    const struct staged_node staged = {.copy_of = taking->id};
    int r;

    tree_stage_node(mounts->tree, &staged);
    r = taking->is_directory ? mkdirat(root_fd, location, 0755)
                             : mknodat(root_fd, location, S_IFREG | 0644, 0);
    r = r < 0 ? negative_errno() : 0;
    tree_stage_node(mounts->tree, NULL);
    return r;
}

/* A directory may have been taken out with it, since a scan found both. */
static int check_path(const struct live_mounts *mounts, const struct taking *taking)
{
    struct stat status;
    int r = tree_find_path(mounts->tree, TREE_ROOT_ID, taking->path, &status);

    return r == 0 && status.st_ino != taking->id ? -ENOENT : r;
}

static int exchange(struct live_mounts *mounts, int root_fd, const struct taking *taking)
{
    char location[LOCATION_SIZE];
    int r = check_path(mounts, taking);

    if (r < 0)
        return r;
    location_of(taking->id, location);
    r = make_live_directory(mounts, root_fd);
    if (r == 0)
        r = make_origin(root_fd, taking);
    if (r == 0)
        r = make_copy(mounts, root_fd, taking, location);
    /* the kernel locks the second directory first */
    if (r == 0 && renameat2(root_fd, location, root_fd, taking->path, RENAME_EXCHANGE) < 0)
        r = negative_errno();
    if (r < 0)
        release_name(mounts, taking->id); /* and the copy */
    return r;
}

/* Return: false if an exchange is under way, of whose end nothing is known. */
static bool begin_exchange(struct live_mounts *mounts)
{
    LOCK_GUARD(&mounts->lock);
    if (mounts->is_exchanging)
        return false;
    mounts->is_exchanging = true;
    return true;
}

static void end_exchange(struct live_mounts *mounts)
{
    LOCK_GUARD(&mounts->lock);
    mounts->is_exchanging = false;
}

/* Return: 0; -EAGAIN: another exchange is under way; -errno. */
static int take_out(struct live_mounts *mounts, int root_fd, const struct taking *taking)
{
    int r;

    await_directories(root_fd, taking);
    if (!begin_exchange(mounts))
        return -EAGAIN;
    r = exchange(mounts, root_fd, taking);
    end_exchange(mounts);
    return r;
}

/* The lock is held. */
static int note_taken(struct live_mounts *mounts, struct member *m, char *path_consumed)
{
    m->is_linked = true;
    m->taken_at = clock_mono();
    m->taken_from = path_consumed; /* is_outdated() has found none that was taken from there */
    if (tsearch(m, &mounts->taken, compare_taken) == NULL) {
        free(m->taken_from);
        m->taken_from = NULL;
        return -ENOMEM;
    }
    return make_live(mounts, m);
}

/* Its generation was removed since the scan. */
static bool is_unlinked(const struct live_mounts *mounts, const struct taking *taking)
{
    struct stat status;

    return !taking->is_directory && tree_find_unlinked(mounts->tree, taking->path, &status) == 0 &&
           status.st_ino == taking->id;
}

/*
 * @r: of take_out()
 * @deferred: members, by `pending`
 */
static void end_taking(struct live_mounts *mounts, struct taking *taking, int r,
                       struct list *deferred)
{
    struct member *m;

    LOCK_GUARD(&mounts->lock);
    m = member_by_id(mounts, taking->id);
    if (m == NULL) { /* its volume was removed */
        if (r == 0)
            release_name(mounts, taking->id);
        return;
    }
    if (r == 0)
        r = note_taken(mounts, m, TAKE(taking->path));
    else if (is_unlinked(mounts, taking))
        r = make_live(mounts, m);
    else if (r == -EAGAIN) {
        m->pending_path = TAKE(taking->path);
        list_append(deferred, &m->pending);
        return;
    }
    if (r == 0)
        return;
    if (r != -ENOENT) /* its generation was removed */
        report_failure(mounts, m->volume->name, m->path, r);
    if (!m->is_linked)
        member_free(m);
}

static void put_back(struct live_mounts *mounts, struct list *deferred)
{
    struct member *m, *tmp;

    LOCK_GUARD(&mounts->lock);
    list_for_each_safe (m, tmp, deferred, pending) {
        list_remove(&m->pending);
        add_pending(m);
        mounts->has_deferred = true;
    }
}

bool live_mounts_follow(struct live_mounts *mounts, int root_fd, const char *volume)
{
    struct taking taking;
    struct list deferred;
    bool has_taken = false, defers = false;

    list_init(&deferred);
    while (take_pending(mounts, volume, &taking)) {
        /* and all that follow, as a directory may */
        int r = defers ? -EAGAIN : take_out(mounts, root_fd, &taking);

        defers = defers || r == -EAGAIN;
        has_taken = has_taken || r == 0;
        end_taking(mounts, &taking, r, &deferred);
        free(taking.path);
    }
    put_back(mounts, &deferred);
    return has_taken;
}

bool live_mounts_take_deferred(struct live_mounts *mounts)
{
    bool has_deferred;

    LOCK_GUARD(&mounts->lock);
    has_deferred = mounts->has_deferred && !mounts->is_exchanging;
    mounts->has_deferred = mounts->has_deferred && !has_deferred;
    return has_deferred;
}

bool live_mounts_is_pending(struct live_mounts *mounts, const char *volume, bool *ret_keeps)
{
    const struct member_volume *v;
    const struct member *m;

    LOCK_GUARD(&mounts->lock);
    *ret_keeps = false;
    v = volume_by_name(mounts, volume);
    if (v == NULL || list_is_empty(&v->pending))
        return false;
    list_for_each (m, &v->pending, pending)
        if (m->is_directory && m->is_mounted && !*ret_keeps) {
            report_failure(mounts, volume, m->path, -EBUSY);
            *ret_keeps = true;
        }
    return true;
}

/* ---- the end of a volume */

void live_mounts_forget(struct live_mounts *mounts, const char *volume)
{
    struct member_volume *v;
    struct member *m, *tmp;

    LOCK_GUARD(&mounts->lock);
    v = volume_by_name(mounts, volume);
    if (v == NULL)
        return;
    list_for_each_safe (m, tmp, &v->members, sibling) {
        unlink_member(mounts, m);
        member_free(m);
    }
    v->is_behind = false;
    v->n_visited = SIZE_MAX; /* the last visit may have been for the next volume of this name */
}

/* ---- visits */

void live_mounts_visit(struct live_mounts *mounts, const char *volume, live_mounts_visit_fn *visit,
                       void *userdata)
{
    const struct member_volume *v;
    const struct member *m;

    LOCK_GUARD(&mounts->lock);
    v = volume_by_name(mounts, volume);
    if (v == NULL)
        return;
    list_for_each (m, &v->members, sibling) {
        char location[LOCATION_SIZE];
        const struct live_mount mount = {.id = m->id,
                                         .path = m->path,
                                         .location = m->is_linked ? location : NULL,
                                         .is_directory = m->is_directory};

        if (!list_is_empty(&m->pending))
            continue; /* it is part of its generation as yet */
        location_of(m->id, location);
        if (!visit(userdata, &mount))
            return;
    }
}

void live_mounts_visit_changed(struct live_mounts *mounts, live_mounts_changed_fn *visit,
                               void *userdata)
{
    struct member_volume *v, *tmp;

    LOCK_GUARD(&mounts->lock);
    list_for_each_safe (v, tmp, &mounts->volumes, link) {
        const struct live_mounts_change change = {.volume = v->name,
                                                  .n_mounted = v->n_mounted,
                                                  .needs_follow = !list_is_empty(&v->pending),
                                                  .is_behind = v->is_behind};

        if (v->n_mounted != v->n_visited || change.needs_follow || change.is_behind)
            visit(userdata, &change);
        v->n_visited = v->n_mounted;
        v->is_behind = false;
        if (v->n_members == 0)
            volume_free(mounts, v);
    }
}

size_t live_mounts_count(struct live_mounts *mounts, const char *volume)
{
    const struct member_volume *v;

    LOCK_GUARD(&mounts->lock);
    v = volume_by_name(mounts, volume);
    return v != NULL ? v->n_mounted : 0;
}

bool live_mounts_take_behind(struct live_mounts *mounts, const char *volume)
{
    struct member_volume *v;
    bool is_behind;

    LOCK_GUARD(&mounts->lock);
    v = volume_by_name(mounts, volume);
    is_behind = v != NULL && v->is_behind;
    if (v != NULL)
        v->is_behind = false;
    return is_behind;
}

/* ---- what an earlier process has taken out */

/*
 * A node in LIVE_DIRECTORY is a member if it has its own id as its name: then it was exchanged. The
 * first scan finds out whether it is still mounted.
 */
static int adopt_member(struct live_mounts *mounts, const struct name *name)
{
    char location[LOCATION_SIZE], origin[LOCATION_SIZE + sizeof(ORIGIN)];
    _cleanup_(freep) char *target = NULL;
    struct member_volume *volume;
    struct stat status, link;
    struct member *m;
    char *slash;
    int r = tree_stat(mounts->tree, name->id, &status);

    location_of(name->id, location);
    snprintf(origin, sizeof(origin), "%s" ORIGIN, location);
    if (r < 0 || strtoull(name->text, NULL, 10) != name->id ||
        tree_find_path(mounts->tree, TREE_ROOT_ID, origin, &link) < 0)
        return -ESTALE;
    r = tree_readlink(mounts->tree, link.st_ino, &target);
    if (r < 0 || (slash = strchr(target, '/')) == NULL)
        return r < 0 ? r : -ESTALE;
    *slash = '\0';
    r = volume_get(mounts, target, &volume);
    if (r == 0)
        r = member_new(mounts, volume, slash + 1, &status, &m);
    if (r < 0)
        return r;
    m->is_linked = true;
    return make_live(mounts, m);
}

static bool is_origin(const char *name)
{
    size_t len = strlen(name), origin_len = strlen(ORIGIN);

    return len > origin_len && streq(name + len - origin_len, ORIGIN);
}

/* The link of a node that is not there; the number stands before it. */
static bool is_stray(const struct live_mounts *mounts, const struct name *name)
{
    return is_origin(name->text) && member_by_id(mounts, strtoull(name->text, NULL, 10)) == NULL;
}

int live_mounts_adopt(struct live_mounts *mounts)
{
    _cleanup_(names_deinit) struct names names = {.all = NULL};
    struct stat directory;
    int r = 0;

    LOCK_GUARD(&mounts->lock);
    if (tree_find(mounts->tree, TREE_ROOT_ID, LIVE_DIRECTORY, &directory) < 0)
        return 0;
    mounts->has_directory = true;
    r = names_read(&names, mounts->tree, directory.st_ino);
    for (size_t i = 0; i < names.n && r == 0; i++) {
        if (!is_origin(names.all[i].text))
            r = adopt_member(mounts, &names.all[i]);
        if (r == -ESTALE) {
            tree_detach(mounts->tree, names.all[i].id);
            r = 0;
        }
    }
    for (size_t i = 0; i < names.n; i++)
        if (is_stray(mounts, &names.all[i]))
            tree_detach(mounts->tree, names.all[i].id);
    return r;
}

int live_mounts_new(struct session *session, struct tree *tree, bool can_follow,
                    struct live_mounts **ret_mounts)
{
    struct live_mounts *mounts = calloc(1, sizeof(*mounts));

    if (mounts == NULL)
        return -ENOMEM;
    mounts->session = session;
    mounts->tree = tree;
    mounts->can_follow = can_follow;
    pthread_mutex_init(&mounts->lock, NULL);
    list_init(&mounts->all);
    list_init(&mounts->volumes);
    *ret_mounts = mounts;
    return 0;
}

struct live_mounts *live_mounts_free(struct live_mounts *mounts)
{
    struct member_volume *v, *next;
    struct member *m, *tmp;

    if (mounts == NULL)
        return NULL;
    list_for_each_safe (m, tmp, &mounts->all, link)
        member_free(m);
    list_for_each_safe (v, next, &mounts->volumes, link)
        volume_free(mounts, v);
    assert(mounts->by_id == NULL && mounts->by_name == NULL && mounts->taken == NULL);
    pthread_mutex_destroy(&mounts->lock);
    free(mounts);
    return NULL;
}
