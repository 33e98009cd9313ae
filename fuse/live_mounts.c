/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is mounted alone is the inode of one generation. To make it live it is taken out of
 * that generation, which stays as it was:
 *
 *  1. a copy of it is made in LIVE_DIRECTORY, under its node id as the name
 *  2. it and the copy are exchanged (RENAME_EXCHANGE): readers of the generation find the same
 *     content in the copy, and the file itself is linked where no reader looks
 *  3. from now on its content changes with every update
 *
 * It has to stay linked because the kernel mounts nothing that has no name: a container runtime
 * that clones the kubelet's mount would fail. It is exchanged as soon as its mount is seen, because
 * its inode then is not in use yet: a watch would see MOVE_SELF, which many programs take for its
 * end. When no mount of it is seen any more, the kernel is told to forget the name. What a
 * container still holds of it goes on following, until the kernel forgets the node.
 *
 * A directory is treated in the same way, with all that is below it (live_update.c).
 */
#include "fuse/live_mounts.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/list.h"
#include "base/log.h"
#include "fuse/live_switch.h"

#define DELETED       "//deleted" /* what the kernel writes behind the path of an unlinked node */
#define LOCATION_SIZE (sizeof(LIVE_DIRECTORY) + 24)

struct member {
    struct list link;
    char *volume;
    char *path;
    uint64_t id;
    bool is_directory;
    bool is_linked;   /* in LIVE_DIRECTORY */
    mono_us taken_at; /* out of its generation */
    char *taken_from; /* path from the root of the file system; NULL if it was not taken out */
    bool is_live;     /* false for want of memory: it becomes so at the next look */
    bool is_mounted;  /* when mounts were looked at last */
    bool is_behind;
};

struct live_mounts {
    struct session *session;
    struct tree *tree;
    bool can_follow;
    struct list all;
    bool has_directory;
    bool has_warned; /* of what does not follow */
    bool is_failing; /* something does not, in the look under way */
    bool has_taken;  /* something out of its generation, in that look */
};

/* ---- what a mount shows */

/* Read off the root of a mount. */
struct root {
    char *volume;     /* path of the volume's directory; "." for the root */
    char *generation; /* name of the directory; NULL in LIVE_DIRECTORY */
    char *path;       /* in the generation; "" for all of it */
    uint64_t live_id; /* in LIVE_DIRECTORY */
    bool is_deleted;
};

static bool is_generation(const char *name)
{
    static const char pattern[] = "..dddd_dd_dd_dd_dd_dd."; /* A5 */
    size_t i;

    for (i = 0; pattern[i] != '\0'; i++)
        if (pattern[i] == 'd' ? !isdigit((unsigned char)name[i]) : name[i] != pattern[i])
            return false;
    return isdigit((unsigned char)name[i]);
}

static bool parse_generation(char *text, struct root *ret_root)
{
    char *at = text, *slash;

    ret_root->volume = (char *)(uintptr_t) ".";
    if (!is_generation(at)) {
        at = strchr(at, '/');
        if (at == NULL || !is_generation(at + 1))
            return false;
        *at++ = '\0';
        ret_root->volume = text;
    }
    ret_root->generation = at;
    slash = strchr(at, '/');
    ret_root->path = slash != NULL ? slash + 1 : at + strlen(at);
    if (slash != NULL)
        *slash = '\0';
    return true;
}

/* @text: as mountinfo has it; is cut into pieces. Return: whether it is part of a volume. */
static bool parse_root(char *text, struct root *ret_root)
{
    static const char live[] = "/" LIVE_DIRECTORY "/";
    size_t len = strlen(text), deleted_len = strlen(DELETED);

    *ret_root = (struct root){0};
    ret_root->is_deleted = len > deleted_len && streq(text + len - deleted_len, DELETED);
    if (ret_root->is_deleted)
        text[len - deleted_len] = '\0';
    if (strncmp(text, live, strlen(live)) == 0) {
        ret_root->live_id = strtoull(text + strlen(live), NULL, 10);
        return ret_root->live_id != 0;
    }
    return text[0] == '/' && parse_generation(text + 1, ret_root);
}

/* ---- members */

static struct member *member_free(struct member *m)
{
    if (m == NULL)
        return NULL;
    list_remove(&m->link);
    free(m->volume);
    free(m->path);
    free(m->taken_from);
    free(m);
    return NULL;
}
DEFINE_CLEANUP(struct member *, member_free)

static int member_new(const struct root *root, const struct stat *status,
                      struct member **ret_member)
{
    _cleanup_(member_freep) struct member *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return -ENOMEM;
    list_init(&m->link);
    m->volume = strdup(root->volume);
    m->path = strdup(root->path);
    m->id = status->st_ino;
    m->is_directory = S_ISDIR(status->st_mode);
    m->is_mounted = m->is_behind = true;
    if (m->volume == NULL || m->path == NULL)
        return -ENOMEM;
    *ret_member = TAKE(m);
    return 0;
}

static struct member *member_by_id(const struct live_mounts *mounts, uint64_t id)
{
    struct member *m;

    list_for_each (m, &mounts->all, link)
        if (m->id == id)
            return m;
    return NULL;
}

static void location_of(uint64_t id, char location[static LOCATION_SIZE])
{
    (void)snprintf(location, LOCATION_SIZE, LIVE_DIRECTORY "/%" PRIu64, id);
}

/* ---- becoming live */

static int make_live_directory(struct live_mounts *mounts, int root_fd)
{
    if (!mounts->has_directory && mkdirat(root_fd, LIVE_DIRECTORY, 0700) < 0 && errno != EEXIST)
        return negative_errno();
    mounts->has_directory = true;
    return 0;
}

/* Step 1. */
static int make_copy(const struct live_mounts *mounts, int root_fd, const struct member *m,
                     const char *location)
{
    const struct tree_staged_node staged = {.copy_of = m->id};
    int r;

    tree_stage_node(mounts->tree, &staged);
    r = m->is_directory ? mkdirat(root_fd, location, 0755)
                        : mknodat(root_fd, location, S_IFREG | 0644, 0);
    r = r < 0 ? negative_errno() : 0;
    tree_stage_node(mounts->tree, NULL);
    return r;
}

static int take_out(struct live_mounts *mounts, int root_fd, const char *path, struct member *m)
{
    char location[LOCATION_SIZE];
    int r = make_live_directory(mounts, root_fd);

    location_of(m->id, location);
    m->taken_from = strdup(path);
    if (r == 0)
        r = m->taken_from != NULL ? make_copy(mounts, root_fd, m, location) : -ENOMEM;
    if (r < 0)
        return r;
    if (renameat2(root_fd, path, root_fd, location, RENAME_EXCHANGE) < 0) {
        struct stat copy;

        r = negative_errno();
        if (tree_find_path(mounts->tree, TREE_ROOT_ID, location, &copy) == 0)
            tree_detach(mounts->tree, copy.st_ino);
        return r;
    }
    m->is_linked = true;
    m->taken_at = clock_mono();
    mounts->has_taken = true;
    return 0;
}

/* Return: 0, *ret_status is the node's; -ENOENT. @ret_path: from the root of the file system */
static int find_node(const struct live_mounts *mounts, const struct root *root, char **ret_path,
                     struct stat *ret_status)
{
    bool is_root = streq(root->volume, ".");
    int r;

    if (asprintf(ret_path, "%s%s%s%s%s", is_root ? "" : root->volume, is_root ? "" : "/",
                 root->generation, root->path[0] != '\0' ? "/" : "", root->path) < 0) {
        *ret_path = NULL;
        return -ENOMEM;
    }
    r = root->is_deleted ? tree_find_unlinked(mounts->tree, *ret_path, ret_status)
                         : tree_find_path(mounts->tree, TREE_ROOT_ID, *ret_path, ret_status);
    if (r == 0 && S_ISDIR(ret_status->st_mode) && root->is_deleted)
        return -ENOENT; /* the kernel makes nothing in it any more */
    return r == 0 && S_ISLNK(ret_status->st_mode) ? -ENOENT : r;
}

static size_t count_of(const struct live_mounts *mounts, const char *volume, bool mounted_only)
{
    const struct member *m;
    size_t n = 0;

    list_for_each (m, &mounts->all, link)
        n += streq(m->volume, volume) && (m->is_mounted || !mounted_only);
    return n;
}

static int make_live(const struct live_mounts *mounts, struct member *m)
{
    int r = m->is_live ? 0 : live_file_make(mounts->tree, m->id);

    m->is_live = r == 0;
    m->is_behind = true;
    return r;
}

/* What changes in place is live where it is. */
static int begin_following(struct live_mounts *mounts, int root_fd, const struct root *root,
                           const char *path, struct member *m)
{
    int r = 0;

    if (count_of(mounts, m->volume, false) >= LIVE_MOUNTS_MAX)
        return -ENOSPC;
    if (!root->is_deleted && !live_file_is_live(mounts->tree, m->id))
        r = take_out(mounts, root_fd, path, m);
    return r == 0 ? make_live(mounts, m) : r;
}

/*
 * A look that began before something was taken out still shows it where it was, and what is below a
 * directory. By now that is the copy, which is not mounted.
 */
static bool is_outdated(const struct live_mounts *mounts, const char *path, mono_us seen_at)
{
    const struct member *m;

    list_for_each (m, &mounts->all, link) {
        const struct live_root from = {.path = m->taken_from};

        if (m->taken_from != NULL && m->taken_at >= seen_at &&
            live_root_path_below(&from, path) != NULL)
            return true;
    }
    return false;
}

static int add_member(struct live_mounts *mounts, int root_fd, const struct root *root,
                      mono_us seen_at)
{
    _cleanup_(member_freep) struct member *m = NULL;
    _cleanup_(freep) char *path = NULL;
    struct member *known;
    struct stat status;
    int r = find_node(mounts, root, &path, &status);

    if (r < 0)
        return r;
    if (is_outdated(mounts, path, seen_at))
        return 0;
    known = mounts->can_follow ? member_by_id(mounts, status.st_ino) : NULL;
    if (known != NULL) {
        known->is_mounted = true;
        return 0;
    }
    r = member_new(root, &status, &m);
    if (r == 0 && mounts->can_follow)
        r = begin_following(mounts, root_fd, root, path, m);
    if (r < 0 && (m == NULL || !m->is_linked))
        return r;
    list_append(&mounts->all, &m->link);
    m = NULL;
    return r;
}

static int note_live_root(struct live_mounts *mounts, uint64_t id)
{
    struct member *m = member_by_id(mounts, id);

    if (m == NULL)
        return 0;
    m->is_mounted = true;
    return m->is_live ? 0 : make_live(mounts, m);
}

static void note_root(struct live_mounts *mounts, int root_fd, const char *text, mono_us seen_at)
{
    _cleanup_(freep) char *copy = strdup(text);
    struct root root;
    int r;

    if (copy == NULL || !parse_root(copy, &root))
        return;
    r = root.live_id != 0 ? note_live_root(mounts, root.live_id)
                          : add_member(mounts, root_fd, &root, seen_at);
    if (r == 0 || r == -ENOENT)
        return;
    mounts->is_failing = true;
    if (!mounts->has_warned)
        log_warn("a file or directory that is mounted alone does not follow updates", "volume",
                 root.volume, "path", root.path, "error", strerror(-r));
    mounts->has_warned = true; /* for all of them, until all follow */
}

/* ---- being let go */

static void unlink_member(struct live_mounts *mounts, struct member *m)
{
    char name[LOCATION_SIZE];
    struct notification forget = {.kind = NOTIFY_ENTRY, .name = name};
    struct stat directory;

    if (!m->is_linked)
        return;
    m->is_linked = false;
    (void)snprintf(name, sizeof(name), "%" PRIu64, m->id);
    if (tree_find(mounts->tree, TREE_ROOT_ID, LIVE_DIRECTORY, &directory) < 0)
        return;
    tree_detach(mounts->tree, m->id);
    forget.id = directory.st_ino;
    session_notify(mounts->session, &forget, 1);
}

static void drop_unused(struct live_mounts *mounts)
{
    struct member *m, *tmp;
    struct stat status;

    list_for_each_safe (m, tmp, &mounts->all, link) {
        if (!m->is_mounted)
            unlink_member(mounts, m);
        if (!m->is_mounted && (!mounts->can_follow || tree_stat(mounts->tree, m->id, &status) < 0))
            (void)member_free(m);
    }
}

static int compare_roots(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;

    return strcmp(*y, *x);
}

bool live_mounts_reconcile(struct live_mounts *mounts, int root_fd, struct lone_mounts *seen)
{
    struct member *m;

    /* what is below a directory comes before it, as it would be taken out together with it */
    if (seen->n > 0)
        qsort(seen->roots, seen->n, sizeof(*seen->roots), compare_roots);
    mounts->is_failing = mounts->has_taken = false;
    list_for_each (m, &mounts->all, link)
        m->is_mounted = m->is_linked && m->taken_at >= seen->began_at;
    if (!mounts->can_follow)
        drop_unused(mounts); /* each is counted again */
    for (size_t i = 0; i < seen->n; i++)
        note_root(mounts, root_fd, seen->roots[i], seen->began_at);
    drop_unused(mounts);
    mounts->has_warned = mounts->is_failing;
    return mounts->has_taken;
}

void live_mounts_forget(struct live_mounts *mounts, const char *volume)
{
    struct member *m, *tmp;

    list_for_each_safe (m, tmp, &mounts->all, link)
        if (streq(m->volume, volume)) {
            unlink_member(mounts, m);
            (void)member_free(m);
        }
}

/* ---- looking */

void live_mounts_visit(struct live_mounts *mounts, const char *volume, live_mounts_visit_fn *visit,
                       void *userdata)
{
    const struct member *m;

    list_for_each (m, &mounts->all, link) {
        char location[LOCATION_SIZE];
        const struct live_mount mount = {.id = m->id,
                                         .path = m->path,
                                         .location = m->is_linked ? location : NULL,
                                         .is_directory = m->is_directory};

        location_of(m->id, location);
        if (streq(m->volume, volume) && !visit(userdata, &mount))
            return;
    }
}

size_t live_mounts_count(const struct live_mounts *mounts, const char *volume)
{
    return count_of(mounts, volume, true);
}

bool live_mounts_take_behind(struct live_mounts *mounts, const char *volume)
{
    bool is_behind = false;
    struct member *m;

    list_for_each (m, &mounts->all, link)
        if (streq(m->volume, volume)) {
            is_behind |= m->is_behind;
            m->is_behind = false;
        }
    return is_behind;
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
    list_init(&mounts->all);
    *ret_mounts = mounts;
    return 0;
}

struct live_mounts *live_mounts_free(struct live_mounts *mounts)
{
    struct member *m, *tmp;

    if (mounts == NULL)
        return NULL;
    list_for_each_safe (m, tmp, &mounts->all, link)
        (void)member_free(m);
    free(mounts);
    return NULL;
}
