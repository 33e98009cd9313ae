/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a generation never change, so a mount of one of them cannot be made to show other
 * content. It is replaced by a mount of the same path in the current generation:
 *
 *  1. a read-only clone of a mount, with the new file as its root
 *  2. into the mount namespace, where the old mount is found once more by its id
 *  3. the clone gets the flags of the old mount and is slid beneath it (MOVE_MOUNT_BENEATH)
 *  4. the old mount is taken off; from here on opening the path gives the new file
 *  5. back home, the old file is kept for those who watch it, and they are told
 *
 * Opening the path finds the one or the other at any time. Whoever has the old file open or mapped
 * keeps it as it was; a mix of the two does not exist, as no inode ever had both contents.
 *
 * A kernel before 6.5 cannot do that (3), and there the old mount stays. Covering it instead would
 * not do: the cover would be mounted on the old file, and go when that is unlinked.
 *
 * A key that is gone leaves its mount as it is, so that readers keep the last content; when it
 * returns, the mount is found by the path that the kernel remembers of the file ("..//deleted").
 *
 * A directory has its files' content only as long as they are linked in it. So directories are
 * replaced before the old generation is removed. The old one is kept as well, and what changes in
 * the new one is done in it, so that who watches it is told.
 *
 * The paths of another namespace belong to whoever lives there. They are looked up in the kernel's
 * cache alone (RESOLVE_CACHED), where what leads to a mount always is: nobody's file system can
 * make us wait.
 */
#include "fuse/followers.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "base/list.h"
#include "base/log.h"
#include "base/mountinfo.h"
#include "fuse/mount_namespaces.h"
#include "fuse/tell.h"
#include "fuse/watch_pins.h"
#include "fuse/writer.h"

#ifndef MOVE_MOUNT_BENEATH
#define MOVE_MOUNT_BENEATH 0x00000200 /* linux/mount.h since 6.5 */
#endif

#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000 /* linux/stat.h since 6.8 */
#endif

#define SCAN_SHARE     10         /* one part in so many of the time goes into scanning, at most */
#define SCAN_PAUSE     SPAN_MS(5) /* between two scans, however short they are */
#define SCAN_ALL_AFTER SPAN_SEC(60) /* namespaces come to light without anything being mounted */
#define DELETED        "//deleted"  /* what the kernel writes behind the path of an unlinked file */

struct follower {
    struct list link;
    struct mount_namespace namespace;
    uint64_t mount_id;
    char *mountpoint; /* as seen in the namespace */
    char *volume;
    char *generation; /* what it shows */
    char *path;
    bool is_deleted; /* also in a generation that changes in place */
    bool is_stuck;   /* it could not be replaced, the last time */
    bool is_seen;    /* in the scan under way */
    /* while it is being replaced */
    int clone_fd; /* else -1; it keeps the new mount busy */
    bool is_replaced;
    char next_generation[GENERATION_NAME_SIZE];
    uint64_t old_id; /* node ids */
    uint64_t new_id;
    bool is_directory;
    bool is_changed;
};

struct followers {
    struct session *session;
    struct tree *tree;
    struct list all; /* in the order of their namespaces */
    struct watch_pins pins;
    mono_us scanned_at;
    mono_us scanned_all_at;
    mono_us next_scan;
    uint64_t n_mounts; /* that had been made then, by others; 0 if it is not known */
    bool is_suspect;   /* some of them are not what they were */
};

/* ---- what a mount shows */

static bool is_generation(const char *name)
{
    static const char pattern[] = "..dddd_dd_dd_dd_dd_dd."; /* A5 */
    size_t i;

    for (i = 0; pattern[i] != '\0'; i++)
        if (pattern[i] == 'd' ? !isdigit((unsigned char)name[i]) : name[i] != pattern[i])
            return false;
    return isdigit((unsigned char)name[i]);
}

bool follower_root_parse(char *root, struct follower_root *ret_root)
{
    size_t len = strlen(root), deleted_len = strlen(DELETED);
    char *at = root + 1;

    if (root[0] != '/')
        return false;
    ret_root->is_deleted = len > deleted_len && streq(root + len - deleted_len, DELETED);
    if (ret_root->is_deleted)
        root[len - deleted_len] = '\0';
    ret_root->volume = ".";
    while (!is_generation(at)) {
        at = strchr(at, '/');
        if (at == NULL)
            return false;
        at++;
    }
    if (at > root + 1) {
        at[-1] = '\0';
        ret_root->volume = root + 1;
    }
    ret_root->generation = at;
    ret_root->path = "";
    at = strchr(at, '/');
    if (at != NULL) {
        *at = '\0';
        ret_root->path = at + 1;
    }
    return true;
}

/* ---- followers */

static struct follower *follower_free(struct follower *m)
{
    if (m == NULL)
        return NULL;
    list_remove(&m->link);
    (void)fd_close(m->clone_fd);
    free(m->mountpoint);
    free(m->volume);
    free(m->generation);
    free(m->path);
    free(m);
    return NULL;
}
DEFINE_CLEANUP(struct follower *, follower_free)

static int follower_new(const struct mount_namespace *namespace, const struct mountinfo *mount,
                        const struct follower_root *root, struct follower **ret_follower)
{
    _cleanup_(follower_freep) struct follower *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return -ENOMEM;
    list_init(&m->link);
    m->clone_fd = -1;
    m->namespace = *namespace;
    m->mount_id = mount->id;
    m->is_deleted = root->is_deleted;
    m->mountpoint = strdup(mount->mountpoint);
    m->volume = strdup(root->volume);
    m->generation = strdup(root->generation);
    m->path = strdup(root->path);
    if (m->mountpoint == NULL || m->volume == NULL || m->generation == NULL || m->path == NULL)
        return -ENOMEM;
    *ret_follower = TAKE(m);
    return 0;
}

static struct follower *find(struct followers *f, const struct mount_namespace *namespace,
                             uint64_t mount_id)
{
    struct follower *m;

    list_for_each (m, &f->all, link)
        if (m->mount_id == mount_id && m->namespace.id == namespace->id)
            return m;
    return NULL;
}

/* ---- scanning */

struct scan {
    struct followers *followers;
    const struct mount_namespace *namespace;
    dev_t device;
    int result;
};

/* Ids of mounts are used again, so that one that is known has to look the same. */
static bool is_same(const struct follower *m, const struct mountinfo *mount,
                    const struct follower_root *root)
{
    return streq(m->mountpoint, mount->mountpoint) && streq(m->path, root->path) &&
           streq(m->generation, root->generation) && streq(m->volume, root->volume);
}

/* One that is there already stays what it is; its process may be another one by now. */
static bool note_known(struct scan *scan, const struct mountinfo *mount,
                       const struct follower_root *root)
{
    struct follower *m = find(scan->followers, scan->namespace, mount->id);

    if (m == NULL)
        return false;
    if (!is_same(m, mount, root)) {
        (void)follower_free(m);
        return false;
    }
    m->namespace.pid = scan->namespace->pid;
    m->is_deleted = root->is_deleted;
    m->is_seen = true;
    /* keep those of a namespace together */
    list_remove(&m->link);
    list_append(&scan->followers->all, &m->link);
    return true;
}

static bool note_mount(void *userdata, const struct mountinfo *mount)
{
    struct scan *scan = userdata;
    _cleanup_(freep) char *copy = NULL;
    struct follower_root root;
    struct follower *m;

    if (mount->device != scan->device)
        return true;
    copy = strdup(mount->root);
    if (copy == NULL) {
        scan->result = -ENOMEM;
        return false;
    }
    if (!follower_root_parse(copy, &root) || note_known(scan, mount, &root))
        return true;
    scan->result = follower_new(scan->namespace, mount, &root, &m);
    if (scan->result < 0)
        return false;
    m->is_seen = true;
    list_append(&scan->followers->all, &m->link);
    log_debug("found a follower", "mountpoint", m->mountpoint, "path", m->path);
    return true;
}

static bool scan_namespace(void *userdata, int proc_fd, const struct mount_namespace *namespace)
{
    struct scan *scan = userdata;
    char path[32];

    scan->namespace = namespace;
    (void)snprintf(path, sizeof(path), "%d/mountinfo", namespace->pid);
    return mountinfo_visit(proc_fd, path, note_mount, scan) == 0;
}

static bool is_followed(void *userdata, const char *volume, const char *path)
{
    struct followers *f = userdata;
    struct follower *m;

    list_for_each (m, &f->all, link)
        if (streq(m->path, path) && streq(m->volume, volume))
            return true;
    return false;
}

static void drop_unseen(struct followers *f)
{
    struct follower *m, *tmp;

    list_for_each_safe (m, tmp, &f->all, link)
        if (!m->is_seen)
            (void)follower_free(m);
    watch_pins_keep(&f->pins, is_followed, f);
}

static int scan_all(struct followers *f)
{
    struct scan scan = {.followers = f, .device = session_device(f->session)};
    struct follower *m;
    int r;

    list_for_each (m, &f->all, link)
        m->is_seen = false;
    r = mount_namespaces_visit(scan_namespace, &scan);
    r = r < 0 ? r : scan.result;
    if (r == 0)
        drop_unseen(f);
    return r;
}

/*
 * Since Linux 6.8 mounts are numbered one by one, and a new one tells how many there have been.
 * Return: the number, without our own; 0 if it is not to be had.
 */
static uint64_t count_mounts(struct followers *f)
{
    struct error ignored;
    _cleanup_(fd_closep) int fd = session_clone(f->session, ".", 0, &ignored);
    struct statx status;

    if (fd < 0 ||
        statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, &status) < 0 ||
        (status.stx_mask & STATX_MNT_ID_UNIQUE) == 0)
        return 0;
    return status.stx_mnt_id - session_n_clones(f->session);
}

int followers_scan(struct followers *followers, bool is_thorough)
{
    struct followers *f = followers;
    mono_us begin = clock_mono();
    uint64_t n_mounts = count_mounts(f);
    int r = 0;

    if (is_thorough || f->is_suspect || n_mounts == 0 || n_mounts != f->n_mounts ||
        begin - f->scanned_all_at > SCAN_ALL_AFTER) {
        r = scan_all(f);
        f->is_suspect = r < 0;
        f->n_mounts = n_mounts;
        f->scanned_all_at = begin;
    }
    f->scanned_at = begin;
    f->next_scan = clock_mono() + SCAN_PAUSE + (clock_mono() - begin) * (SCAN_SHARE - 1);
    return r;
}

mono_us followers_scanned_at(const struct followers *followers)
{
    return followers->scanned_at;
}

mono_us followers_next_scan(const struct followers *followers)
{
    return followers->next_scan;
}

size_t followers_count(const struct followers *followers, const char *volume)
{
    const struct follower *m;
    size_t n = 0;

    list_for_each (m, &followers->all, link)
        n += streq(m->volume, volume) && !m->is_stuck;
    return n;
}

/* ---- replacing, at home */

static int look_at(int fd, struct statx *ret_status)
{
    const unsigned wanted = STATX_TYPE | STATX_INO | STATX_MNT_ID;
    int r = statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, ret_status);

    return r < 0 ? negative_errno() : 0;
}

/* Step 1. Return: 0; -ENOENT when the current generation has no such path; -errno. */
static int prepare(struct followers *f, struct follower *m)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(fd_closep) int fd = -1;
    struct statx status;
    struct error ignored;
    int r;

    if (asprintf(&path, "%s/%s/%s", m->volume, m->next_generation, m->path) < 0)
        return -ENOMEM;
    fd = session_clone(f->session, path, 0, &ignored);
    if (fd < 0)
        return fd;
    r = look_at(fd, &status);
    if (r < 0)
        return r;
    m->new_id = status.stx_ino;
    m->clone_fd = TAKE_FD(fd);
    return 0;
}

/* Return: whether the volume has a generation; its name is in m->next_generation. */
static bool find_current(int root_fd, struct follower *m)
{
    _cleanup_(freep) char *path = NULL;
    ssize_t len;

    if (asprintf(&path, "%s/..data", m->volume) < 0)
        return false;
    len = readlinkat(root_fd, path, m->next_generation, sizeof(m->next_generation) - 1);
    if (len < 0)
        return false;
    m->next_generation[len] = '\0';
    return true;
}

/* Return: whether there is anything to replace. */
static bool prepare_all(struct followers *f, int root_fd, const char *volume)
{
    struct follower *m;
    bool is_any = false;

    list_for_each (m, &f->all, link) {
        int r;

        if ((volume != NULL && !streq(m->volume, volume)) || !find_current(root_fd, m) ||
            (streq(m->generation, m->next_generation) && !m->is_deleted))
            continue;
        r = prepare(f, m);
        if (r < 0 && r != -ENOENT)
            log_debug("cannot prepare for a follower", "mountpoint", m->mountpoint, "error",
                      strerror(-r));
        is_any |= r == 0;
    }
    return is_any;
}

/* ---- replacing, in the namespace */

static int open_mountpoint(const struct follower *m)
{
    const struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED,
    };
    long fd = syscall(SYS_openat2, AT_FDCWD, m->mountpoint, &how, sizeof(how));

    return fd < 0 ? negative_errno() : (int)fd;
}

/* Return: whether what @m shows is in a directory, whose node id is in *ret_id. */
static bool find_parent(struct tree *tree, const struct follower *m, uint64_t *ret_id)
{
    _cleanup_(freep) char *path = NULL;
    bool is_root = streq(m->volume, ".");
    struct stat status;

    if (asprintf(&path, "%s%s%s/%s", is_root ? "" : m->volume, is_root ? "" : "/", m->generation,
                 m->path) < 0)
        return false;
    *strrchr(path, '/') = '\0';
    if (tree_find_path(tree, TREE_ROOT_ID, path, &status) < 0)
        return false;
    *ret_id = status.st_ino;
    return true;
}

/* The flags of the old mount as they are now; it is read-only already. */
static int copy_attributes(int clone_fd, int mountpoint_fd)
{
    static const struct {
        unsigned long flag;
        unsigned long attribute;
    } known[] = {
        {ST_NOSUID, MOUNT_ATTR_NOSUID},
        {ST_NODEV, MOUNT_ATTR_NODEV},
        {ST_NOEXEC, MOUNT_ATTR_NOEXEC},
    };
    struct mount_attr attr = {0};
    struct statvfs status;

    if (fstatvfs(mountpoint_fd, &status) < 0)
        return negative_errno();
    for (size_t i = 0; i < ELEMENTS_OF(known); i++)
        if ((status.f_flag & known[i].flag) != 0)
            attr.attr_set |= known[i].attribute;
    return mount_setattr(clone_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ? negative_errno()
                                                                               : 0;
}

/*
 * Keep what is replaced for those who watch it. A generation as a whole cannot be kept, nor a
 * directory that is gone already.
 */
static void pin(struct followers *f, int dir_fd, const struct follower *m)
{
    struct watch_pin_options options = {.volume = m->volume,
                                        .path = m->path,
                                        .node_id = m->old_id,
                                        .is_directory = m->is_directory};

    if (m->is_directory && (m->path[0] == '\0' || !find_parent(f->tree, m, &options.parent_id)))
        return;
    (void)watch_pins_add(&f->pins, dir_fd, &options);
}

/* Steps 2 to 4. Return: 0; -ESTALE when something else is mounted there by now; -errno. */
static int replace(struct followers *f, int dir_fd, struct follower *m)
{
    _cleanup_(fd_closep) int mountpoint_fd = open_mountpoint(m);
    struct statx old, new;
    int r = mountpoint_fd < 0 ? mountpoint_fd : look_at(mountpoint_fd, &old);

    if (r == 0)
        r = look_at(m->clone_fd, &new);
    if (r < 0)
        return r;
    if (old.stx_mnt_id != m->mount_id)
        return -ESTALE;
    m->old_id = old.stx_ino;
    m->is_directory = S_ISDIR(old.stx_mode);
    pin(f, dir_fd, m);
    r = copy_attributes(m->clone_fd, mountpoint_fd);
    if (r < 0)
        return r;
    if (move_mount(m->clone_fd, "", mountpoint_fd, "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_BENEATH) < 0 ||
        umount2(m->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        return negative_errno();
    m->mount_id = new.stx_mnt_id;
    return 0;
}

static void replace_all(struct followers *f, int dir_fd)
{
    struct mount_namespace_stay stay = MOUNT_NAMESPACE_STAY_INIT;
    const struct mount_namespace *where = NULL;
    struct follower *m;
    int entered = 0;

    list_for_each (m, &f->all, link) {
        int r;

        if (m->clone_fd < 0)
            continue;
        if (where == NULL || where->id != m->namespace.id) {
            mount_namespace_leave(&stay);
            where = &m->namespace;
            entered = mount_namespace_enter(where, &stay);
        }
        r = entered < 0 ? entered : replace(f, dir_fd, m);
        m->clone_fd = fd_close(m->clone_fd);
        m->is_replaced = r == 0;
        m->is_stuck = r < 0;
        f->is_suspect |= r < 0;
        if (r < 0)
            log_debug("cannot replace a follower", "mountpoint", m->mountpoint, "error",
                      strerror(-r));
    }
    mount_namespace_leave(&stay);
}

/* ---- telling who watches */

/* Return: the next one that was replaced, from @from on, or NULL. */
static struct follower *next_replaced(struct followers *f, const struct list *from)
{
    for (struct list *l = from->next; l != &f->all; l = l->next) {
        struct follower *m = list_entry(l, struct follower, link);

        if (m->is_replaced)
            return m;
    }
    return NULL;
}

/* Whether another one of this round showed the same directory, which is told of once. */
static bool was_told(struct followers *f, const struct follower *m)
{
    const struct follower *other;

    list_for_each (other, &f->all, link) {
        if (other == m)
            break;
        if (other->is_replaced && other->old_id == m->old_id)
            return true;
    }
    return false;
}

/* A generation as a whole is told of once, before it is removed. */
static void tell_generation(struct followers *f, int dir_fd, const struct follower *m)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(fd_closep) int fd = -1;

    if (asprintf(&path, "%s/%s", m->volume, m->generation) < 0)
        return;
    fd = openat(dir_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        tell_directory(f->tree, fd, m->old_id, m->old_id, m->new_id);
}

static void tell_directories(struct followers *f, int dir_fd, const struct follower *m)
{
    if (m->path[0] == '\0')
        tell_generation(f, dir_fd, m);
    else
        watch_pins_tell_directories(&f->pins, m->volume, m->path, m->old_id, m->new_id);
}

static bool is_changed(void *userdata, const char *volume, const char *path)
{
    struct followers *f = userdata;

    for (const struct follower *m = next_replaced(f, &f->all); m != NULL;
         m = next_replaced(f, &m->link))
        if (m->is_changed && streq(m->path, path) && streq(m->volume, volume))
            return true;
    return false;
}

/* Step 5. */
static void tell_all(struct followers *f, int dir_fd)
{
    struct follower *m;

    for (m = next_replaced(f, &f->all); m != NULL; m = next_replaced(f, &m->link)) {
        m->is_changed = !m->is_directory && !tree_same_content(f->tree, m->old_id, m->new_id);
        if (m->is_directory && !was_told(f, m))
            tell_directories(f, dir_fd, m);
    }
    watch_pins_tell(&f->pins, dir_fd, is_changed, f);
}

/* ---- all of it */

/* Those that were replaced show the current generation. Return: whether a directory was. */
static bool settle(struct followers *f)
{
    bool is_any_directory = false;

    for (struct follower *m = next_replaced(f, &f->all); m != NULL;
         m = next_replaced(f, &m->link)) {
        char *generation = strdup(m->next_generation);

        m->is_replaced = false;
        m->is_deleted = false;
        is_any_directory |= m->is_directory;
        if (generation == NULL)
            continue; /* it is replaced by the same once more, later */
        free(m->generation);
        m->generation = generation;
    }
    return is_any_directory;
}

bool followers_update(struct followers *followers, int root_fd, const char *volume)
{
    _cleanup_(fd_closep) int dir_fd = -1;

    if (!prepare_all(followers, root_fd, volume))
        return false;
    dir_fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    replace_all(followers, dir_fd);
    tell_all(followers, dir_fd);
    return settle(followers);
}

int followers_new(struct session *session, struct tree *tree, struct followers **ret_followers)
{
    struct followers *f = calloc(1, sizeof(*f));

    if (f == NULL)
        return -ENOMEM;
    f->session = session;
    f->tree = tree;
    list_init(&f->all);
    watch_pins_init(&f->pins, session, tree);
    *ret_followers = f;
    return 0;
}

struct followers *followers_free(struct followers *followers)
{
    struct follower *m, *tmp;

    if (followers == NULL)
        return NULL;
    list_for_each_safe (m, tmp, &followers->all, link)
        (void)follower_free(m);
    watch_pins_deinit(&followers->pins);
    free(followers);
    return NULL;
}
