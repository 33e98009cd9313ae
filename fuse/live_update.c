/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The steps, around the rename of ..data:
 *
 *  1. new names are made in directories, with their content: CREATE; opens of them wait
 *  2. the switch is prepared, and the kernel drops the attributes of the files that will change
 *  3. open files drain (live_switch.c); the publisher works on other volumes meanwhile
 *  4. the rename commits the switch
 *  5. files that return to a directory, and are still in use, get their names again: CREATE
 *  6. files that changed are opened for writing: MODIFY and CLOSE_WRITE; this also has the kernel
 *     drop their pages, so that mappings show the new content, and learn their size
 *  7. the opens that wait are answered
 *  8. names of removed keys are removed: DELETE
 *
 * Where a removed key is mounted alone, its file keeps the last content.
 *
 * A reader that has seen an update finds nothing older afterwards, by any of the paths
 * and mounts of a volume. So a new file is not opened before the commit either: with it a reader
 * would be ahead of the files that change. If the update fails, such opens fail with ENOENT, and
 * the file is announced by MODIFY when a later update shows it.
 *
 * A process may end after each of these. The state says of each live file whether its name belongs
 * to what the volume shows, and whether step 6 is due (struct node_live): the next process first
 * undoes step 1 of an update that was not committed, or does what is left of one that was
 * (live_update_finish()).
 *
 * Where a file becomes a directory, or the reverse, the old name is removed in step 8, and the new
 * one is made by a second update that follows.
 */
#include "fuse/live_update.h"

#include <fcntl.h>
#include <stdio.h>

#include "fuse/inotify_events.h"
#include "fuse/names.h"

struct live_part {
    struct live_root root; /* its path is owned */
    char *location;        /* or NULL: it has no name now */
    char *returns_as;      /* the location that it gets again; or NULL */
    bool is_directory;
    bool is_generation;
};

static void part_deinit(struct live_part *part)
{
    free((char *)(uintptr_t)part->root.path);
    free(part->location);
    free(part->returns_as);
}

void live_update_init(struct live_update *update, struct session *session, struct tree *tree,
                      struct payload *payload)
{
    *update =
        (struct live_update){.session = session, .tree = tree, .payload = payload_ref(payload)};
}

static void end_switch(struct live_update *u)
{
    bool holds_opens = u->live_switch != NULL && live_switch_holds_opens(u->live_switch);

    u->live_switch = live_switch_free(u->live_switch);
    if (holds_opens)
        session_notify(u->session, NULL, 0); /* answers them */
}

void live_update_deinit(struct live_update *update)
{
    end_switch(update);
    for (size_t i = 0; i < update->n_parts; i++)
        part_deinit(&update->parts[i]);
    free(update->parts);
    payload_unref(update->payload);
    *update = (struct live_update){0};
}

/* @part_consumed: its texts are NULL when out of memory */
static int add_part(struct live_update *u, struct live_part part_consumed, bool has_failed)
{
    struct live_part *parts =
        has_failed ? NULL : reallocarray(u->parts, u->n_parts + 1, sizeof(*parts));

    if (parts == NULL) {
        part_deinit(&part_consumed);
        return -ENOMEM;
    }
    u->parts = parts;
    u->parts[u->n_parts++] = part_consumed;
    return 0;
}

int live_update_add(struct live_update *update, const struct live_mount *mount)
{
    struct live_part part = {.root = {.id = mount->id, .path = strdup(mount->path)},
                             .is_directory = mount->is_directory,
                             .is_generation = mount->is_generation};

    part.location = mount->location != NULL ? strdup(mount->location) : NULL;
    return add_part(update, part,
                    part.root.path == NULL || (mount->location != NULL && part.location == NULL));
}

/* ---- new names */

/* Make the directories on the way to a file. */
static int make_parents(int dir_fd, const char *path)
{
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        _cleanup_(freep) char *parent = strndup(path, (size_t)(slash - path));

        if (parent == NULL)
            return -ENOMEM;
        if (mkdirat(dir_fd, parent, 0755) < 0 && errno != EEXIST)
            return negative_errno();
    }
    return 0;
}

static int make_node(struct tree *tree, int dir_fd, const char *path,
                     const struct staged_node *staged, mode_t mode)
{
    int r = make_parents(dir_fd, path);

    if (r < 0)
        return r;
    tree_stage_node(tree, staged);
    r = mknodat(dir_fd, path, S_IFREG | mode, 0) < 0 ? negative_errno() : 0;
    tree_stage_node(tree, NULL);
    return r;
}

static int make_name(struct live_update *u, int dir_fd, size_t part, const char *below,
                     const struct payload_file *file)
{
    const struct staged_node staged = {.file = file, .volume = u->volume};
    _cleanup_(freep) char *location = names_join(u->parts[part].location, below);
    struct stat removed;

    if (location == NULL)
        return -ENOMEM;
    if (tree_find_unlinked(u->tree, location, &removed) == 0 &&
        live_file_is_live(u->tree, removed.st_ino)) {
        /* it was removed and is still in use: it gets its name again in step 5 */
        struct live_part again = {.root = {.id = removed.st_ino, .path = strdup(file->path)},
                                  .returns_as = strdup(location)};

        return add_part(u, again, again.root.path == NULL || again.returns_as == NULL);
    }
    return make_node(u->tree, dir_fd, below, &staged, file->attributes.mode);
}

/* Return: 0; -EEXIST, -ENOTDIR when another node is in the file's way; -errno. */
static int make_name_if_new(struct live_update *u, int dir_fd, size_t part,
                            const struct payload_file *file)
{
    const char *below = live_root_path_below(&u->parts[part].root, file->path);
    struct stat status;
    int r;

    if (below == NULL || *below == '\0')
        return 0;
    r = tree_find_path(u->tree, u->parts[part].root.id, below, &status);
    if (r == -ENOENT)
        return make_name(u, dir_fd, part, below, file);
    return r == 0 && !S_ISREG(status.st_mode) ? -EEXIST : r;
}

/*
 * A node that is in a file's way in a directory that is mounted alone is removed at the end of this
 * update, and the file is made when the volume catches up.
 * Return: 0; -EEXIST, -ENOTDIR in a generation; -errno.
 */
static int make_names(struct live_update *u, int dir_fd, size_t part)
{
    for (size_t i = 0; i < u->payload->n_files; i++) {
        int r = make_name_if_new(u, dir_fd, part, &u->payload->files[i]);

        if ((r == -EEXIST || r == -ENOTDIR) && !u->parts[part].is_generation)
            u->is_partial = true;
        else if (r < 0)
            return r;
    }
    return 0;
}

static int open_part(const struct live_part *part, int root_fd)
{
    int fd = openat(root_fd, part->location, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd >= 0 ? fd : negative_errno();
}

static bool has_names(const struct live_part *part)
{
    return part->is_directory && part->location != NULL;
}

/* ---- the switch */

static int prepare_switch(struct live_update *u)
{
    struct live_root *roots = calloc(u->n_parts + 1, sizeof(*roots));
    int r;

    if (roots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < u->n_parts; i++) {
        roots[i] = u->parts[i].root;
        roots[i].volume = u->volume;
        roots[i].uid = u->uid;
        roots[i].gid = u->gid;
    }
    r = live_switch_new(u->tree, roots, u->n_parts, u->payload, &u->live_switch);
    free(roots);
    return r;
}

/* Without memory for the list: one by one. */
static void drop_attributes(struct live_update *u)
{
    size_t n;
    const struct live_change *changes = live_switch_changes(u->live_switch, &n);
    struct notification *all = n > 0 ? calloc(n, sizeof(*all)) : NULL;

    for (size_t i = 0; i < n; i++) {
        const struct notification one = {.kind = NOTIFY_ATTRIBUTES, .id = changes[i].id};

        if (all != NULL)
            all[i] = one;
        else
            session_notify(u->session, &one, 1);
    }
    if (all != NULL)
        session_notify(u->session, all, n);
    free(all);
}

/* There is no switch that they could be part of. */
static void give_up_new(struct live_update *u)
{
    for (size_t i = 0; i < u->n_parts; i++)
        live_file_give_up_new(u->tree, u->parts[i].root.id);
    session_notify(u->session, NULL, 0); /* answers opens */
}

int live_update_begin(struct live_update *update, int root_fd)
{
    size_t n_parts = update->n_parts; /* without those that return */
    int r = 0;

    assert(update->payload != NULL && update->live_switch == NULL);
    for (size_t i = 0; i < n_parts && r == 0; i++) {
        _cleanup_(fd_closep) int dir_fd = -1;

        if (!has_names(&update->parts[i]))
            continue;
        dir_fd = open_part(&update->parts[i], root_fd);
        r = dir_fd < 0 ? dir_fd : make_names(update, dir_fd, i);
    }
    if (r == 0)
        r = prepare_switch(update);
    if (r == 0)
        drop_attributes(update);
    else
        give_up_new(update);
    return r;
}

mono_us live_update_drain_until(const struct live_update *update)
{
    return update->live_switch != NULL ? live_switch_drain_until(update->live_switch) : 0;
}

bool live_update_is_partial(const struct live_update *update)
{
    return update->live_switch != NULL &&
           (update->is_partial || live_switch_is_partial(update->live_switch));
}

/* ---- returning names, and removed names */

static int compare_paths(const void *path, const void *file)
{
    return strcmp(path, ((const struct payload_file *)file)->path);
}

/* Return: NULL if there is no such file. */
static const struct payload_file *file_by_path(const struct payload *payload, const char *path)
{
    return payload->n_files > 0 ? bsearch(path, payload->files, payload->n_files,
                                          sizeof(*payload->files), compare_paths)
                                : NULL;
}

/* If it is not in use any more the kernel may have forgotten it: then a new file takes its place.
 */
static void link_again(struct live_update *u, int root_fd, struct live_part *part)
{
    const struct staged_node again = {.again = part->root.id};
    struct staged_node new_file = {.volume = u->volume, .is_committed = true};
    int r;

    if (part->returns_as == NULL)
        return;
    r = make_node(u->tree, root_fd, part->returns_as, &again, 0600);
    new_file.file = file_by_path(u->payload, part->root.path);
    if (r == -ESTALE && new_file.file != NULL)
        r = make_node(u->tree, root_fd, part->returns_as, &new_file,
                      new_file.file->attributes.mode);
    if (r == 0)
        part->location = TAKE(part->returns_as);
}

/* A directory that is mounted alone stays, as no name could return to it. */
static bool is_mounted_alone(const struct live_update *u, uint64_t id)
{
    for (size_t i = 0; i < u->n_parts; i++)
        if (u->parts[i].root.id == id)
            return true;
    return false;
}

struct removal {
    const struct live_update *update;
    const char *root; /* path of the part in the volume */
    int dir_fd;       /* of the part */
};

/* @below: path below the part */
static int remove_name(void *userdata, const char *below, const struct name *name)
{
    const struct removal *removal = userdata;
    _cleanup_(freep) char *path = NULL;

    if (name->is_directory) {
        if (!is_mounted_alone(removal->update, name->id))
            unlinkat(removal->dir_fd, below, AT_REMOVEDIR); /* if it is empty now */
        return 0;
    }
    path = names_join(removal->root, below);
    if (path != NULL && file_by_path(removal->update->payload, path) == NULL)
        unlinkat(removal->dir_fd, below, 0);
    return 0;
}

/* When out of memory, names are left to the next update. */
static void remove_names(const struct live_update *u, int dir_fd, const struct live_root *part)
{
    struct removal removal = {.update = u, .root = part->path, .dir_fd = dir_fd};

    (void)!names_walk(u->tree, part->id, "", remove_name, &removal);
}

/* ---- events */

/* By its path below a directory, so that the watchers of the directory see it as well. */
static void raise_modify(const struct live_update *u, int root_fd, const struct live_change *change)
{
    const struct live_part *part = &u->parts[change->root];
    _cleanup_(freep) char *path = NULL;

    if (part->location == NULL)
        return;
    path = names_join(part->location, change->path);
    if (path != NULL)
        inotify_raise_modify(openat(root_fd, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
}

/* Opens wait until the kernel has dropped the old content: see live_switch.c. */
static void announce(struct live_update *u, int root_fd)
{
    size_t n;
    const struct live_change *changes = live_switch_changes(u->live_switch, &n);

    for (size_t i = 0; i < n; i++)
        raise_modify(u, root_fd, &changes[i]);
    end_switch(u);
}

void live_update_end(struct live_update *update, int root_fd)
{
    assert(update->live_switch != NULL);
    for (size_t i = 0; i < update->n_parts; i++)
        link_again(update, root_fd, &update->parts[i]);
    announce(update, root_fd);
    for (size_t i = 0; i < update->n_parts; i++) {
        const struct live_part *part = &update->parts[i];
        _cleanup_(fd_closep) int dir_fd = -1;

        if (!has_names(part))
            continue;
        dir_fd = open_part(part, root_fd);
        if (dir_fd >= 0)
            remove_names(update, dir_fd, &part->root);
    }
}

/* ---- what an earlier process has begun */

struct finishing {
    const struct live_update *update;
    int dir_fd; /* of the part */
};

static void finish_file(const struct live_update *u, int dir_fd, const char *path, uint64_t id)
{
    if (live_file_is_unannounced(u->tree, id))
        inotify_raise_modify(openat(dir_fd, path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC));
}

/* @below: path below the part */
static int finish_name(void *userdata, const char *below, const struct name *name)
{
    const struct finishing *f = userdata;

    if (name->is_directory) {
        if (!is_mounted_alone(f->update, name->id))
            unlinkat(f->dir_fd, below, AT_REMOVEDIR); /* if it is empty now */
    } else if (!live_file_is_shown(f->update->tree, name->id)) {
        unlinkat(f->dir_fd, below, 0);
    } else {
        finish_file(f->update, f->dir_fd, below, name->id);
    }
    return 0;
}

/* When out of memory, names are left to the next update. */
static void finish_part(const struct live_update *u, int root_fd, const struct live_part *part)
{
    struct finishing finishing = {.update = u};
    _cleanup_(fd_closep) int dir_fd = -1;

    if (part->location == NULL)
        return;
    if (!part->is_directory) {
        finish_file(u, root_fd, part->location, part->root.id);
        return;
    }
    dir_fd = open_part(part, root_fd);
    finishing.dir_fd = dir_fd;
    if (dir_fd >= 0)
        (void)!names_walk(u->tree, part->root.id, "", finish_name, &finishing);
}

void live_update_finish(struct live_update *update, int root_fd)
{
    for (size_t i = 0; i < update->n_parts; i++)
        finish_part(update, root_fd, &update->parts[i]);
}
