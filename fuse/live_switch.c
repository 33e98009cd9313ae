/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel keeps size and pages with the inode, and takes them at different moments. So an open
 * file of a live file reads past the pages (operations.c), from the version that it was opened
 * with, and what the kernel keeps is the attributes alone, as long as they are the same for all.
 *
 * A reader that calls open(2), fstat(2) and read(2) must get three answers of one version, and
 * fstat does not say which descriptor it is about. A switch has these steps:
 *
 *  1. live_switch_new(): from here on an open has to wait, and no attributes are kept
 *  2. the kernel drops the attributes that it has cached (notifier.c)
 *  3. the publisher waits for files that were opened a moment ago, until they are read or closed,
 *     for LIVE_DRAIN_MAX at most: their readers still get the old size
 *  4. the rename of ..data commits: all files have their new content
 *  5. the publisher opens each of them: the kernel drops its pages and learns the new size
 *     (operations.c, inotify_events.c)
 *  6. live_switch_free(): opens are answered; attributes are kept again once the last older version
 * is closed
 *
 * A reader that keeps a file open for longer gets the size of its own version if its thread is
 * known to have it open (live_file.c), and the newest size otherwise.
 *
 * A file that was opened before it became live reads the kernel's pages, and its reader would get
 * two versions. While such an open file exists, the file is left out of switches (is_partial); it
 * catches up within a second of the close.
 *
 * The publisher drops pages by an open of its own (step 5) and not by a notification, because the
 * kernel waits for reads under way: a process that is killed while it waits with the device in its
 * hands never ends. sendfile(2) takes pages as well, as of Linux 6.5.
 */
#include "fuse/live_switch.h"

#include "fuse/node.h"

struct entry {
    uint64_t id;
    uint64_t volume;
    struct file_content next;
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

struct live_switch {
    struct tree *tree;
    struct entry *entries; /* the files that change first, in the order of changes */
    struct live_change *changes;
    size_t n_entries;
    size_t n_changes;
    size_t capacity;   /* of both */
    uint64_t *removed; /* node ids of the files below the roots that the payload lacks */
    size_t n_removed;
    uint64_t volume; /* of the roots; 0: there are none */
    size_t n_left_out;
    bool is_partial;
    bool holds_opens;
};

/* ---- preparing a switch */

static int make_room(struct live_switch *s)
{
    size_t capacity = s->capacity == 0 ? 16 : s->capacity * 2;
    struct entry *entries;
    struct live_change *changes;

    if (s->n_entries < s->capacity)
        return 0;
    entries = reallocarray(s->entries, capacity, sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    s->entries = entries;
    changes = reallocarray(s->changes, capacity, sizeof(*changes));
    if (changes == NULL)
        return -ENOMEM;
    s->changes = changes;
    s->capacity = capacity;
    return 0;
}

static bool has_bytes_of(const struct node *n, const struct payload_file *file)
{
    const struct file_content *content = &n->file.content;

    return content->object != NULL && content->len == file->len &&
           (file->len == 0 || memcmp(content->bytes, file->bytes, file->len) == 0);
}

/* Sources of one volume may give a path different modes, and which of them has it may change. */
static struct entry make_entry(const struct node *n, const struct payload_file *file,
                               const struct live_root *root)
{
    const struct payload_attributes *a = &file->attributes;

    return (struct entry){
        .id = n->id,
        .volume = root->volume,
        .next = {.object = file->object, .bytes = file->bytes, .len = file->len},
        .mode = a->mode,
        .uid = a->uid != PAYLOAD_ID_INHERITED ? a->uid : root->uid,
        .gid = a->gid != PAYLOAD_ID_INHERITED ? a->gid : root->gid,
    };
}

/* Return: 0 or -ENOMEM. */
static int add_entry(struct live_switch *s, struct node *n, const struct payload_file *file,
                     const struct live_root *root, const struct live_change *change)
{
    const struct entry entry = make_entry(n, file, root);
    bool is_same = has_bytes_of(n, file);
    /* it was made for an update that failed: its watchers got CREATE and could not open it */
    bool was_given_up = n->file.live->presence == LIVE_NEW && !n->file.live->is_switching;

    n->file.live->is_unwanted = false;
    if (n->file.n_cached_opens > 0 && !is_same) {
        s->n_left_out += n->file.n_cached_opens;
        s->is_partial = true;
        return 0;
    }
    if (make_room(s) < 0)
        return -ENOMEM;
    assert(s->n_changes <= s->n_entries && s->n_entries < s->capacity);
    s->entries[s->n_entries++] = entry;
    s->holds_opens |= n->file.live->is_switching; /* a new file */
    object_ref(file->object);
    if (is_same && !was_given_up && n->mode == entry.mode && n->uid == entry.uid &&
        n->gid == entry.gid)
        return 0;
    /* those that change come first */
    s->entries[s->n_entries - 1] = s->entries[s->n_changes];
    s->entries[s->n_changes] = entry;
    s->changes[s->n_changes++] = *change;
    n->file.live->is_switching = true;
    s->holds_opens = true;
    return 0;
}

const char *live_root_path_below(const struct live_root *root, const char *path)
{
    size_t len = strlen(root->path);

    if (len == 0)
        return path;
    if (strncmp(path, root->path, len) != 0 || (path[len] != '\0' && path[len] != '/'))
        return NULL;
    return path + len + (path[len] == '/');
}

/* Return: how many live files there are below a directory. */
static size_t mark_unwanted(struct node *top)
{
    size_t n_files = 0;

    if (top == NULL || top->kind != NODE_DIRECTORY)
        return 0;
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE && n->file.live != NULL) {
            n->file.live->is_unwanted = true;
            n_files++;
        }
    return n_files;
}

/* Return: 0 or -ENOMEM. */
static int add_unwanted(struct live_switch *s, struct node *top, size_t n_files)
{
    uint64_t *removed;

    if (n_files == 0)
        return 0;
    removed = reallocarray(s->removed, s->n_removed + n_files, sizeof(*removed));
    if (removed == NULL)
        return -ENOMEM;
    s->removed = removed;
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE && n->file.live != NULL && n->file.live->is_unwanted)
            s->removed[s->n_removed++] = n->id;
    return 0;
}

/* The lock is held. */
static int add_root(struct live_switch *s, const struct live_root *root, size_t index,
                    const struct payload *payload)
{
    struct node *top = node_by_id(tree_nodes(s->tree), root->id);
    size_t n_files = mark_unwanted(top);
    int r = 0;

    for (size_t i = 0; top != NULL && i < payload->n_files && r == 0; i++) {
        const struct payload_file *file = &payload->files[i];
        struct live_change change = {.root = index, .path = live_root_path_below(root, file->path)};
        struct node *n =
            change.path != NULL ? node_by_path(tree_nodes(s->tree), top, change.path) : NULL;

        if (n == NULL || n->kind != NODE_FILE || n->file.live == NULL)
            continue;
        change.id = n->id;
        r = add_entry(s, n, file, root, &change);
    }
    return r == 0 ? add_unwanted(s, top, n_files) : r;
}

int live_switch_new(struct tree *tree, const struct live_root *roots, size_t n_roots,
                    const struct payload *payload, struct live_switch **ret_switch)
{
    _cleanup_(live_switch_freep) struct live_switch *s = calloc(1, sizeof(*s));
    int r = 0;

    if (s == NULL)
        return -ENOMEM;
    s->tree = tree;
    s->volume = n_roots > 0 ? roots[0].volume : 0;
    {
        NODE_TABLE_GUARD(tree_nodes(tree));
        for (size_t i = 0; i < n_roots && r == 0; i++)
            r = add_root(s, &roots[i], i, payload);
    }
    if (r < 0)
        return r;
    *ret_switch = TAKE(s);
    return 0;
}

/* The lock is held. */
static void end_switch(struct tree *t, struct live_switch *s)
{
    struct node *n;

    for (size_t i = 0; i < s->n_entries; i++)
        if ((n = node_file_by_id(tree_nodes(t), s->entries[i].id)) != NULL)
            n->file.live->is_switching = false;
}

struct live_switch *live_switch_free(struct live_switch *live_switch)
{
    struct live_switch *s = live_switch;

    if (s == NULL)
        return NULL;
    tree_disarm(s->tree, s);
    {
        NODE_TABLE_GUARD(tree_nodes(s->tree));
        end_switch(s->tree, s);
    }
    for (size_t i = 0; i < s->n_entries; i++)
        object_unref(s->entries[i].next.object);
    free(s->entries);
    free(s->changes);
    free(s->removed);
    free(s);
    return NULL;
}

const struct live_change *live_switch_changes(const struct live_switch *live_switch, size_t *ret_n)
{
    *ret_n = live_switch->n_changes;
    return live_switch->changes;
}

bool live_switch_holds_opens(const struct live_switch *live_switch)
{
    return live_switch->holds_opens;
}

bool live_switch_is_partial(const struct live_switch *live_switch)
{
    return live_switch->is_partial;
}

mono_us live_switch_drain_until(const struct live_switch *live_switch)
{
    struct node_table *t = tree_nodes(live_switch->tree);
    mono_us until = 0;
    struct node *n;

    NODE_TABLE_GUARD(t);
    for (size_t i = 0; i < live_switch->n_changes; i++)
        if ((n = node_file_by_id(t, live_switch->entries[i].id)) != NULL &&
            n->file.live->n_unread > 0 && n->file.live->opened_at + LIVE_DRAIN_MAX > until)
            until = n->file.live->opened_at + LIVE_DRAIN_MAX;
    return until;
}

/* ---- committing */

/* The lock is held. A new version, or the same bytes of a newer object, so that the older one is
 * freed. */
static void commit_entry(struct tree *t, const struct entry *entry, uint64_t edition,
                         bool is_change)
{
    struct timespec changed;
    struct node_live *live;
    struct node *n;

    n = node_file_by_id(tree_nodes(t), entry->id);
    if (n == NULL)
        return;
    changed = n->changed;
    n->file.edition = edition;
    if (is_change)
        live_file_outdate(tree_nodes(t), n, entry->volume);
    node_set_content(tree_nodes(t), n, &entry->next);
    n->mode = entry->mode;
    node_set_owner(n, entry->uid, entry->gid);
    n->file.live->presence = LIVE_SHOWN;
    if (!is_change) {
        live_file_refresh(n, &entry->next);
        n->changed = changed;
        return;
    }
    live = n->file.live;
    assert(live->is_switching);
    live->version++;
    live->has_old_pages = true;
    live->is_unannounced = true;
    live->n_older_opens += live->n_opens;
    live->n_opens = 0;
    live->n_unread = 0;
}

/* The lock is held. Their names are removed after the switch: see live_update.c. */
static void commit_removed(const struct live_switch *s)
{
    struct node *n;

    for (size_t i = 0; i < s->n_removed; i++) {
        n = node_file_by_id(tree_nodes(s->tree), s->removed[i]);
        if (n == NULL || n->file.live->presence == LIVE_REMOVED)
            continue;
        n->file.live->presence = LIVE_REMOVED;
        node_mark(tree_nodes(s->tree), n);
    }
}

/* The lock is held. */
static void on_rename(void *userdata)
{
    const struct live_switch *s = userdata;
    struct node *directory = node_by_id(tree_nodes(s->tree), s->volume);
    uint64_t edition = node_take_edition(tree_nodes(s->tree));

    if (directory != NULL && directory->kind == NODE_DIRECTORY)
        directory->directory.n_left_out = s->n_left_out;
    commit_removed(s);
    for (size_t i = 0; i < s->n_entries; i++)
        commit_entry(s->tree, &s->entries[i], edition, i < s->n_changes);
    if (s->n_changes > 0) /* they are of one volume */
        node_limit_held_of(tree_nodes(s->tree), s->entries[0].volume);
}

void live_switch_commit(struct live_switch *live_switch)
{
    NODE_TABLE_GUARD(tree_nodes(live_switch->tree));
    on_rename(live_switch);
}

void live_switch_arm(struct live_switch *live_switch, uint64_t parent)
{
    tree_arm(live_switch->tree, parent, on_rename, live_switch);
}
