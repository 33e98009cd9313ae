/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet's AtomicWriter, in the order of Kubernetes 1.23 and later (C3), as calls that pass
 * through the kernel, so that every inotify watcher sees what a tmpfs would have shown it (D3):
 *
 *  1. mkdir TS, chmod TS 0755    the tree fills the new directory in as it is made (tree_stage())
 *     with an fsGroup, which a setgid root has as its group: chown and chmod over the volume, root
 *     last, before anything is published (C4, F10, F15)
 *  2. symlink TS -> ..data_tmp
 *  3. rename ..data_tmp -> ..data         from here on the new content is what readers see
 *     just before it, symlink OLD/..replaced, which is unlinked just after it
 *  4. symlink key -> ..data/key  for each first path component that has no link yet
 *  5. unlink key                 for each link whose first component is gone
 *  6. remove the old TS, files first
 *
 * The permissions pass changes nothing: files are created with their modes and owners, links and
 * directories with the root's owner. It raises the events that watchers expect (D9), so it leaves
 * out files that have no watcher yet, the new ones, and those that step 6 removes.
 *
 * Steps 4 to 6 compare the tree with the payload and remember nothing, so a publish also finishes
 * what an earlier one left undone: a stale ..data_tmp, which makes the kubelet fail (C10), links
 * that are missing (C5) or left over (C13, E6), and generations that nothing points to (Q5). When a
 * step fails before the rename, the old content stays and the new directory is removed (C8). After
 * it the new content is visible, and the next publish finishes the work. The removal of a link that
 * is already gone is no failure.
 *
 * Step 6 is writer_clean(), later: a reader that has just followed ..data to the old directory
 * still finds its file. With the kubelet, which removes it at once, a program that opens a file in
 * a loop fails in about one of fifty updates. But for ..replaced the events are the same, in the
 * same order.
 *
 * ..replaced is for systemd's PathChanged=VOLUME/..data. systemd watches the link and the directory
 * that it leads to, starts the unit only after an event of the directory, and after any event moves
 * both watches to what the path leads to then. With the kubelet it reads the rename and the removal
 * of files in the old directory together. Here the removal comes later, so
 *  1. the rename notifies the watch of the link,
 *  2. systemd moves its watches to the new directory,
 *  3. the watch that the old directory's events were for is gone.
 * An event of the old directory before the rename is queued in any case before systemd moves its
 * watches. Watches on files, links and the volume's directory do not see it, and no listing has the
 * link. An event after the rename came too late for 6 of 24 updates.
 */
#include "fuse/writer.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "fuse/names.h"

#define DATA_LINK     "..data"
#define DATA_TMP_LINK "..data_tmp"
#define NOTICE_LINK   TREE_UNLISTED_LINK /* no key begins with two dots */

#define NAME_TRIES_MAX 10000 /* A6 */

/* ---- names */

/* The first components of a payload's paths, sorted: the links that its volume has. */
static int names_of_links(struct names *names, const struct payload *payload)
{
    static const struct stat unused;

    for (size_t i = 0; i < payload->n_files; i++) {
        const char *path = payload->files[i].path;
        size_t len = payload_first_len(path);
        const char *last = names->n > 0 ? names->all[names->n - 1].text : "";

        /* repeats that do not follow each other ("d/a", "d-x", "d/b") do no harm */
        if (strncmp(path, last, len) == 0 && last[len] == '\0')
            continue;
        if (names_add(names, path, len, &unused) < 0)
            return -ENOMEM;
    }
    names_sort(names);
    return 0;
}

static bool is_reserved(const char *name)
{
    return name[0] == '.' && name[1] == '.';
}

/* ---- the steps */

static int make_generation_name(char name[static GENERATION_NAME_SIZE])
{
    struct timespec now = clock_wall();
    uint32_t suffix;
    struct tm utc;
    size_t len;

    if (getrandom(&suffix, sizeof(suffix), 0) != (ssize_t)sizeof(suffix))
        return negative_errno();
    gmtime_r(&now.tv_sec, &utc);
    len = strftime(name, GENERATION_NAME_SIZE, "..%Y_%m_%d_%H_%M_%S", &utc);
    snprintf(name + len, GENERATION_NAME_SIZE - len, ".%u", suffix);
    return 0;
}

/* Step 1. @ret_name: the directory to remove if this or a later step fails; unset before it is made
 */
static int make_generation(struct tree *tree, int dir_fd, struct payload *payload, bool is_live,
                           char ret_name[static GENERATION_NAME_SIZE])
{
    for (unsigned tries = 0; tries < NAME_TRIES_MAX; tries++) {
        char name[GENERATION_NAME_SIZE];
        int r = make_generation_name(name);

        if (r < 0)
            return r;
        r = tree_stage(tree, name, payload, is_live);
        if (r < 0)
            return r;
        r = mkdirat(dir_fd, name, 0700) < 0 ? negative_errno() : 0;
        tree_stage(tree, name, NULL, false);
        if (r == -EEXIST)
            continue; /* it is there already, the current one perhaps */
        if (r < 0)
            return r;
        memcpy(ret_name, name, sizeof(name));
        return fchmodat(dir_fd, name, 0755, 0) < 0 ? negative_errno() : 0;
    }
    return -EEXIST;
}

/*
 * F10, W1: links get the group only. The chmod follows a chown that worked: by an ordinary user who
 * is not in the group it would clear setgid.
 * @mode: 0 for a link
 * Return: whether both worked, which callers ignore.
 */
static bool give_to_group(int dir_fd, const char *name, mode_t mode, gid_t group)
{
    if (fchownat(dir_fd, name, (uid_t)-1, group, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    return mode == 0 || fchmodat(dir_fd, name, (mode & 07777) | S_ISGID | 0550, 0) == 0;
}

/* The permissions pass of a volume with an fsGroup. @existing: before this publish */
static void apply_fs_group(struct tree *tree, int dir_fd, uint64_t dir_id, const char *generation,
                           const struct names *existing)
{
    struct stat root;

    if (tree_stat(tree, dir_id, &root) < 0 || (root.st_mode & S_ISGID) == 0)
        return;
    for (size_t i = 0; i < existing->n; i++)
        give_to_group(dir_fd, existing->all[i].text, existing->all[i].is_directory ? 0755 : 0,
                      root.st_gid);
    give_to_group(dir_fd, generation, 0755, root.st_gid);
    give_to_group(dir_fd, ".", root.st_mode, root.st_gid);
}

static int unlink_if_there(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? negative_errno() : 0;
}

/* What the steps work on. */
struct volume_directory {
    struct tree *tree;
    int fd;
    uint64_t id;
    struct names existing; /* sorted */
    struct names wanted;   /* links; sorted */
};

static void directory_deinit(struct volume_directory *d)
{
    names_deinit(&d->existing);
    names_deinit(&d->wanted);
}

/* All memory is allocated first, so that the steps fail for other reasons only. */
static int directory_read(struct volume_directory *d, const struct payload *payload)
{
    int r = names_read(&d->existing, d->tree, d->id);

    if (r == 0)
        r = names_of_links(&d->wanted, payload);
    names_sort(&d->existing);
    return r;
}

/*
 * @path: of the notice in the generation that is replaced; NULL for none. See the top. The update
 * does not depend on it; a notice that stays is removed with its generation.
 */
static int rename_with_notice(int dir_fd, const char *path)
{
    bool has_notice = path != NULL && symlinkat(".", dir_fd, path) == 0;
    int r = renameat(dir_fd, DATA_TMP_LINK, dir_fd, DATA_LINK) < 0 ? negative_errno() : 0;

    if (has_notice)
        unlinkat(dir_fd, path, 0);
    return r;
}

/* Steps 2 and 3. @notice: see rename_with_notice() */
static int switch_to(const struct volume_directory *d, const char *generation, const char *notice,
                     struct live_switch *live_switch)
{
    const struct names *existing = &d->existing;
    int dir_fd = d->fd;

    assert(is_reserved(generation));
    if (names_contain(existing, DATA_TMP_LINK) && unlinkat(dir_fd, DATA_TMP_LINK, 0) < 0)
        return negative_errno();
    if (symlinkat(generation, dir_fd, DATA_TMP_LINK) < 0)
        return negative_errno();
    if (live_switch != NULL)
        live_switch_arm(live_switch, d->id);
    return rename_with_notice(dir_fd, notice);
}

/* Step 4. */
static int make_links(int dir_fd, const struct names *wanted, const struct names *existing)
{
    for (size_t i = 0; i < wanted->n; i++) {
        const char *first = wanted->all[i].text;
        char target[PAYLOAD_ELEMENT_MAX + sizeof(DATA_LINK) + 1];

        if (names_contain(existing, first))
            continue;
        snprintf(target, sizeof(target), DATA_LINK "/%s", first);
        if (symlinkat(target, dir_fd, first) < 0 && errno != EEXIST)
            return negative_errno();
    }
    return 0;
}

/* Step 5. The others are still attempted when one fails (C13). */
static int remove_links(int dir_fd, const struct names *wanted, const struct names *existing)
{
    int first_error = 0;

    for (size_t i = 0; i < existing->n; i++) {
        const struct name *name = &existing->all[i];
        int r;

        if (is_reserved(name->text) || name->is_directory || names_contain(wanted, name->text))
            continue;
        r = unlink_if_there(dir_fd, name->text);
        if (r < 0 && first_error == 0)
            first_error = r;
    }
    return first_error;
}

static int remove_empty_directory(int dir_fd, const char *path)
{
    return unlinkat(dir_fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT ? negative_errno() : 0;
}

static int remove_name(void *userdata, const char *path, const struct name *name)
{
    const int *dir_fd = userdata;

    return name->is_directory ? remove_empty_directory(*dir_fd, path)
                              : unlink_if_there(*dir_fd, path);
}

/* Remove a directory with what is in it, children first. @path: relative to @dir_fd. */
static int remove_directory(struct tree *tree, int dir_fd, const char *path)
{
    struct stat directory;
    int r;

    if (fstatat(dir_fd, path, &directory, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : negative_errno();
    r = names_walk(tree, directory.st_ino, path, remove_name, &dir_fd);
    return r < 0 ? r : remove_empty_directory(dir_fd, path);
}

/* The target of ..data. Return: 0, *ret_target is the caller's, or NULL before the first publish.
 */
static int read_current(struct tree *tree, const struct names *existing, char **ret_target)
{
    for (size_t i = 0; i < existing->n; i++)
        if (streq(existing->all[i].text, DATA_LINK))
            return tree_readlink(tree, existing->all[i].id, ret_target);
    *ret_target = NULL;
    return 0;
}

int writer_clean(struct tree *tree, int dir_fd, uint64_t dir_id)
{
    _cleanup_(names_deinit) struct names existing = {0};
    _cleanup_(freep) char *current = NULL;
    int first_error = names_read(&existing, tree, dir_id);

    if (first_error == 0)
        first_error = read_current(tree, &existing, &current);
    if (first_error < 0)
        return first_error;
    for (size_t i = 0; i < existing.n; i++) {
        const struct name *name = &existing.all[i];
        int r;

        if (!is_reserved(name->text) || !name->is_directory ||
            (current != NULL && streq(name->text, current)))
            continue;
        r = remove_directory(tree, dir_fd, name->text);
        if (r < 0 && first_error == 0)
            first_error = r;
    }
    return first_error;
}

/* What a reader sees of a volume: its current generation, and the links that this needs. */
static int finish_links(struct tree *tree, int dir_fd, const struct names *existing,
                        const char *generation, uint64_t generation_id)
{
    _cleanup_(names_deinit) struct names wanted = {0};
    _cleanup_(freep) char *notice = names_join(generation, NOTICE_LINK);
    int made, removed, r = names_read(&wanted, tree, generation_id);

    if (notice == NULL)
        return -ENOMEM;
    if (r < 0)
        return r;
    names_sort(&wanted);
    if (unlink_if_there(dir_fd, notice) < 0)
        return negative_errno();
    made = make_links(dir_fd, &wanted, existing);
    removed = remove_links(dir_fd, &wanted, existing);
    return made < 0 ? made : removed;
}

int writer_finish(struct tree *tree, int dir_fd, uint64_t dir_id)
{
    _cleanup_(names_deinit) struct names existing = {0};
    _cleanup_(freep) char *current = NULL;
    struct stat generation = {0};
    int r = names_read(&existing, tree, dir_id);

    if (r < 0)
        return r;
    names_sort(&existing);
    if (names_contain(&existing, DATA_TMP_LINK) && unlink_if_there(dir_fd, DATA_TMP_LINK) < 0)
        return negative_errno();
    r = read_current(tree, &existing, &current);
    if (r == 0 && current != NULL)
        r = tree_find(tree, dir_id, current, &generation);
    if (r < 0 || current == NULL)
        return r;
    return finish_links(tree, dir_fd, &existing, current, generation.st_ino);
}

int writer_remove(struct tree *tree, int dir_fd, const char *name)
{
    return remove_directory(tree, dir_fd, name);
}

/* Steps 4 and 5. Both are tried. */
static int update_links(const struct volume_directory *d)
{
    int made = make_links(d->fd, &d->wanted, &d->existing);
    int removed = remove_links(d->fd, &d->wanted, &d->existing);

    return made < 0 ? made : removed;
}

/* Return: 0, *ret_path is the caller's, or NULL before the first publish; -errno. */
static int find_notice_path(const struct volume_directory *d, char **ret_path)
{
    _cleanup_(freep) char *current = NULL;
    int r = read_current(d->tree, &d->existing, &current);

    if (r < 0)
        return r;
    *ret_path = current != NULL ? names_join(current, NOTICE_LINK) : NULL;
    return current != NULL && *ret_path == NULL ? -ENOMEM : 0;
}

static void note_visible(const char *generation, struct writer_result *ret_result)
{
    snprintf(ret_result->generation, sizeof(ret_result->generation), "%s", generation);
    ret_result->visible_at = clock_mono();
}

int writer_publish(struct tree *tree, int dir_fd, uint64_t dir_id, struct payload *payload,
                   const struct writer_options *options, struct writer_result *ret_result)
{
    _cleanup_(directory_deinit) struct volume_directory d = {
        .tree = tree, .fd = dir_fd, .id = dir_id};
    _cleanup_(freep) char *notice = NULL;
    char generation[GENERATION_NAME_SIZE] = "";
    int r = directory_read(&d, payload);

    assert(dir_fd >= 0 && dir_id != 0);
    if (r == 0)
        r = find_notice_path(&d, &notice);
    if (r < 0)
        return r;
    r = make_generation(tree, dir_fd, payload, options->is_live, generation);
    if (r == 0) {
        apply_fs_group(tree, dir_fd, dir_id, generation, &d.existing);
        r = switch_to(&d, generation, notice, options->live_switch);
    }
    if (r < 0 && generation[0] != '\0')
        remove_directory(tree, dir_fd, generation); /* C8 */
    if (r < 0)
        return r;
    note_visible(generation, ret_result);
    return update_links(&d);
}

int writer_find_current(struct tree *tree, uint64_t dir_id, char **ret_name, uint64_t *ret_id)
{
    _cleanup_(names_deinit) struct names existing = {0};
    _cleanup_(freep) char *name = NULL;
    struct stat status = {0};
    int r = names_read(&existing, tree, dir_id);

    if (r == 0)
        r = read_current(tree, &existing, &name);
    if (r == 0 && name == NULL)
        r = -ENOENT;
    if (r == 0)
        r = tree_find(tree, dir_id, name, &status);
    if (r < 0)
        return r;
    *ret_name = TAKE(name);
    *ret_id = status.st_ino;
    return 0;
}

void writer_open_first(struct tree *tree, int dir_fd, uint64_t dir_id)
{
    _cleanup_(names_deinit) struct names names = {0};
    _cleanup_(freep) char *current = NULL;
    uint64_t id;

    if (writer_find_current(tree, dir_id, &current, &id) < 0 || names_read(&names, tree, id) < 0)
        return;
    fd_close(openat(dir_fd, current, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (size_t i = 0; i < names.n; i++) {
        _cleanup_(freep) char *path = NULL;

        if (names.all[i].is_directory)
            continue;
        path = names_join(current, names.all[i].text);
        if (path != NULL)
            fd_close(openat(dir_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
        return;
    }
}

int writer_refresh(struct tree *tree, int dir_fd, uint64_t dir_id, struct payload *payload,
                   const struct writer_options *options, struct writer_result *ret_result)
{
    _cleanup_(directory_deinit) struct volume_directory d = {
        .tree = tree, .fd = dir_fd, .id = dir_id};
    _cleanup_(freep) char *current = NULL;
    uint64_t ignored;
    int r = directory_read(&d, payload);

    if (r == 0)
        r = writer_find_current(tree, dir_id, &current, &ignored);
    if (r == 0)
        r = switch_to(&d, current, NULL, options->live_switch);
    if (r < 0)
        return r;
    note_visible(current, ret_result);
    return update_links(&d);
}
