/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel keeps size and pages with the inode, and takes them at different moments. So an open
 * file of a live file reads past the pages (operations.c), from the version that it was opened
 * with, and what the kernel keeps is the attributes alone, as long as they are the same for all.
 *
 * A reader that calls open(2), fstat(2) and read(2) must get three answers of one version, and
 * fstat does not say which descriptor it is about. A switch goes about it in this order:
 *
 *  1. live_switch_new(): from here on an open has to wait, and no attributes are kept
 *  2. the kernel is told to forget the attributes that it has (notifier.c)
 *  3. files that were opened a moment ago are waited for, until they are read or closed, for
 *     LIVE_DRAIN_MAX at most: their readers still see the old size
 *  4. the rename of ..data commits: all files have their new content
 *  5. opens go on, and attributes are kept again once the last older version is closed
 *
 * Who keeps a file open for longer is told its own size as long as its thread is known to have it
 * open (open_files.c), and the newest one else.
 */
#include "fuse/live_file.h"

#include "fuse/node.h"

struct entry {
    uint64_t id;
    struct tree_content next;
};

struct live_switch {
    struct tree *tree;
    struct entry *entries; /* the files whose bytes change first, in the order of changes */
    struct live_change *changes;
    size_t n_entries;
    size_t n_changes;
    size_t capacity; /* of both */
    bool is_partial;
    bool is_over;
};

/* ---- open files */

static int find_file(struct tree *t, uint64_t id, struct node **ret_node)
{
    struct node *n = node_by_id(t, id);

    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_FILE)
        return n->kind == NODE_DIRECTORY ? -EISDIR : -EINVAL;
    *ret_node = n;
    return 0;
}

int live_file_open(struct tree *tree, uint64_t id, struct live_open *ret_open)
{
    struct node_live *live;
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = find_file(tree, id, &n);
    if (r < 0)
        return r;
    live = n->file.live;
    if (live == NULL) {
        n->file.n_cached_opens++;
        *ret_open = (struct live_open){.is_live = false};
        return 0;
    }
    if (live->is_switching)
        return -EAGAIN;
    live->n_opens++;
    live->n_unread++;
    live->opened_at = clock_mono();
    *ret_open = (struct live_open){.content = n->file.content,
                                   .changed = n->changed,
                                   .version = live->version,
                                   .is_live = true};
    (void)object_ref(n->file.content.object);
    return 0;
}

/* The lock is held. Return: NULL when the file, or that version of it, is no longer there. */
static struct node_live *live_of_version(struct tree *t, uint64_t id, uint64_t version)
{
    struct node *n;

    if (find_file(t, id, &n) < 0 || n->file.live == NULL || n->file.live->version != version)
        return NULL;
    return n->file.live;
}

void live_file_read_to_end(struct tree *tree, uint64_t id, uint64_t version)
{
    struct node_live *live;

    TREE_LOCK(tree);
    live = live_of_version(tree, id, version);
    if (live != NULL)
        live->n_unread--;
}

/* The lock is held. */
static void close_one(struct tree *t, uint64_t id, const struct live_open *open, bool was_read)
{
    struct node_live *live;
    struct node *n;

    if (find_file(t, id, &n) < 0)
        return;
    if (!open->is_live) {
        n->file.n_cached_opens--;
        return;
    }
    live = n->file.live;
    if (live->version != open->version) {
        live->n_older_opens--;
        return;
    }
    live->n_opens--;
    live->n_unread -= !was_read;
}

void live_file_close(struct tree *tree, uint64_t id, struct live_open *open_consumed, bool was_read)
{
    {
        TREE_LOCK(tree);
        close_one(tree, id, open_consumed, was_read);
    }
    (void)object_unref(open_consumed->content.object);
    open_consumed->content = (struct tree_content){0};
}

bool live_file_is_settled(struct tree *tree, uint64_t id)
{
    struct node *n;

    TREE_LOCK(tree);
    if (find_file(tree, id, &n) < 0 || n->file.live == NULL)
        return true;
    return n->file.live->n_older_opens == 0 && !n->file.live->is_switching;
}

bool live_file_is_live(struct tree *tree, uint64_t id)
{
    const struct node *top, *n;

    TREE_LOCK(tree);
    top = node_by_id(tree, id);
    for (n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            return n->file.live != NULL;
    return false;
}

int live_file_make(struct tree *tree, uint64_t id)
{
    struct node *top, *n;
    int r = 0;

    TREE_LOCK(tree);
    top = node_by_id(tree, id);
    if (top == NULL)
        return -ESTALE;
    for (n = top; n != NULL && r == 0; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            r = node_make_live(n);
    return r;
}

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
    const struct tree_content *content = &n->file.content;

    return content->len == file->len &&
           (file->len == 0 || memcmp(content->bytes, file->bytes, file->len) == 0);
}

/* Return: 0 or -ENOMEM. */
static int add_entry(struct live_switch *s, struct node *n, const struct payload_file *file,
                     const struct live_change *change)
{
    const struct entry entry = {
        .id = n->id, .next = {.object = file->object, .bytes = file->bytes, .len = file->len}};

    if (n->file.n_cached_opens > 0 && !has_bytes_of(n, file)) {
        s->is_partial = true;
        return 0;
    }
    if (make_room(s) < 0)
        return -ENOMEM;
    s->entries[s->n_entries++] = entry;
    (void)object_ref(file->object);
    if (has_bytes_of(n, file))
        return 0;
    /* those that change come first */
    s->entries[s->n_entries - 1] = s->entries[s->n_changes];
    s->entries[s->n_changes] = entry;
    s->changes[s->n_changes++] = *change;
    n->file.live->is_switching = true;
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

/* The lock is held. */
static int add_root(struct live_switch *s, const struct live_root *root, size_t index,
                    const struct payload *payload)
{
    struct node *top = node_by_id(s->tree, root->id);
    int r = 0;

    for (size_t i = 0; top != NULL && i < payload->n_files && r == 0; i++) {
        const struct payload_file *file = &payload->files[i];
        struct live_change change = {.root = index, .path = live_root_path_below(root, file->path)};
        struct node *n = change.path != NULL ? node_by_path(s->tree, top, change.path) : NULL;

        if (n == NULL || n->kind != NODE_FILE || n->file.live == NULL)
            continue;
        change.id = n->id;
        r = add_entry(s, n, file, &change);
    }
    return r;
}

int live_switch_new(struct tree *tree, const struct live_root *roots, size_t n_roots,
                    const struct payload *payload, struct live_switch **ret_switch)
{
    _cleanup_(live_switch_freep) struct live_switch *s = calloc(1, sizeof(*s));
    int r = 0;

    if (s == NULL)
        return -ENOMEM;
    s->tree = tree;
    {
        TREE_LOCK(tree);
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

    s->is_over = true;
    for (size_t i = 0; i < s->n_changes; i++)
        if (find_file(t, s->entries[i].id, &n) == 0)
            n->file.live->is_switching = false;
}

struct live_switch *live_switch_free(struct live_switch *live_switch)
{
    struct live_switch *s = live_switch;

    if (s == NULL)
        return NULL;
    {
        TREE_LOCK(s->tree);
        if (!s->is_over)
            end_switch(s->tree, s);
        if (s->tree->armed == s)
            s->tree->armed = NULL;
    }
    for (size_t i = 0; i < s->n_entries; i++)
        (void)object_unref(s->entries[i].next.object);
    free(s->entries);
    free(s->changes);
    free(s);
    return NULL;
}

const struct live_change *live_switch_changes(const struct live_switch *live_switch, size_t *ret_n)
{
    *ret_n = live_switch->n_changes;
    return live_switch->changes;
}

bool live_switch_is_partial(const struct live_switch *live_switch)
{
    return live_switch->is_partial;
}

mono_us live_switch_drain_until(struct tree *tree, const struct live_switch *live_switch)
{
    mono_us until = 0;
    struct node *n;

    TREE_LOCK(tree);
    for (size_t i = 0; i < live_switch->n_changes; i++)
        if (find_file(tree, live_switch->entries[i].id, &n) == 0 && n->file.live->n_unread > 0 &&
            n->file.live->opened_at + LIVE_DRAIN_MAX > until)
            until = n->file.live->opened_at + LIVE_DRAIN_MAX;
    return until;
}

/* ---- committing */

/* The lock is held. A new version, or the same bytes of a newer object, so that the older goes. */
static void commit_entry(struct tree *t, const struct entry *entry, bool is_change)
{
    struct timespec changed;
    struct node_live *live;
    struct node *n;

    if (find_file(t, entry->id, &n) < 0)
        return;
    changed = n->changed;
    node_set_content(t, n, &entry->next);
    if (!is_change) {
        n->changed = changed;
        return;
    }
    live = n->file.live;
    live->version++;
    live->n_older_opens += live->n_opens;
    live->n_opens = 0;
    live->n_unread = 0;
}

void live_switch_commit_locked(struct tree *tree, struct live_switch *live_switch)
{
    for (size_t i = 0; i < live_switch->n_entries; i++)
        commit_entry(tree, &live_switch->entries[i], i < live_switch->n_changes);
    end_switch(tree, live_switch);
}

void live_switch_commit(struct tree *tree, struct live_switch *live_switch)
{
    TREE_LOCK(tree);
    live_switch_commit_locked(tree, live_switch);
}

void live_switch_arm(struct tree *tree, struct live_switch *live_switch, uint64_t parent)
{
    TREE_LOCK(tree);
    tree->armed = live_switch;
    tree->armed_in = parent;
}
