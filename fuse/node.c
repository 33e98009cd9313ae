/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node lives while it is linked in a directory or while the kernel holds references to it
 * (lookups that it has not yet forgotten). Removing a generation unlinks its nodes; those that a
 * reader still has open, or mounted, or that the kernel merely caches, stay readable by id until
 * the kernel forgets them, and only then does their object's memory go (cache/object.c wipes it).
 * Each unlinked file that is held is charged to its volume, and above a limit the oldest ones lose
 * their content (held.c). So what readers hold costs no other volume its memory.
 *
 * A directory may be unlinked with all that is in it. It then is a tree of its own, which is freed
 * as a whole when the kernel holds no node of it any more.
 *
 * Ids count up and are never used again, so that an id stands for one node for ever. Two balanced
 * trees of the C library find nodes: one by id, one by parent and name. A directory also keeps its
 * children in a list, in the order of their cookies, which readdir hands out as offsets: an entry's
 * cookie never changes, so a reader that lists a directory while it changes sees every entry that
 * was there all along exactly once. A link that is renamed over another takes the other's place in
 * that order, for the same reason: a listing has ..data exactly once.
 */
#include "fuse/node.h"

#include <search.h>

#define COOKIE_FIRST_CHILD 3u /* after "." and ".." */

#define BLOCK_BYTES  4096u /* tmpfs counts in pages */
#define DIRENT_BYTES 20u   /* and gives a directory this much size per entry */

/* ---- finding */

static int compare_ids(const void *a, const void *b)
{
    const struct node *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_names(const void *a, const void *b)
{
    const struct node *x = a, *y = b;

    if (x->parent->id != y->parent->id)
        return x->parent->id < y->parent->id ? -1 : 1;
    return strcmp(x->name, y->name);
}

struct node *node_by_id(struct node_table *t, uint64_t id)
{
    const struct node like = {.id = id};
    struct node *const *found = tfind(&like, &t->by_id, compare_ids);

    return found != NULL ? *found : NULL;
}

int node_find_file(struct node_table *t, uint64_t id, struct node **ret_file)
{
    struct node *n = node_by_id(t, id);

    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_FILE)
        return n->kind == NODE_DIRECTORY ? -EISDIR : -EINVAL;
    *ret_file = n;
    return 0;
}

struct node *node_file_by_id(struct node_table *t, uint64_t id)
{
    struct node *n;

    return node_find_file(t, id, &n) == 0 ? n : NULL;
}

struct node *node_by_name(struct node_table *t, struct node *parent, const char *name)
{
    char *mutable_name = strdupa(name);
    const struct node like = {.parent = parent, .name = mutable_name};
    struct node *const *found = tfind(&like, &t->by_name, compare_names);

    return found != NULL ? *found : NULL;
}

struct node *node_by_path(struct node_table *t, struct node *directory, const char *path)
{
    struct node *n = directory;

    while (n != NULL && *path != '\0') {
        char name[PAYLOAD_ELEMENT_MAX + 1];
        size_t len = strcspn(path, "/");

        if (n->kind != NODE_DIRECTORY || len > PAYLOAD_ELEMENT_MAX)
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        n = node_by_name(t, n, name);
        path += len + (path[len] == '/');
    }
    return n;
}

struct node *node_find_unlinked(struct node_table *t, const char *path)
{
    struct node *n;

    list_for_each (n, &t->unlinked, link)
        if (n->name != NULL && streq(n->name, path))
            return n;
    return NULL;
}

static bool node_is_empty(const struct node *n)
{
    return n->kind != NODE_DIRECTORY || list_is_empty(&n->directory.children);
}

bool node_is_below(const struct node *n, const struct node *top)
{
    while (n != top && n->parent != NULL && n->parent != n)
        n = n->parent;
    return n == top;
}

struct node *node_next(const struct node *top, const struct node *n)
{
    if (!node_is_empty(n))
        return list_entry(n->directory.children.next, struct node, link);
    while (n != top) {
        const struct node *parent = n->parent;

        if (n->link.next != &parent->directory.children)
            return list_entry(n->link.next, struct node, link);
        n = parent;
    }
    return NULL;
}

/* ---- making */

/* A volume of ten keys has eleven links, which need half of what a file does. */
static size_t allocated_size(enum node_kind kind)
{
    switch (kind) {
    case NODE_DIRECTORY:
        return offsetof(struct node, directory) + sizeof(((struct node *)NULL)->directory);
    case NODE_LINK:
        return offsetof(struct node, target) + sizeof(((struct node *)NULL)->target);
    case NODE_FILE:
        break;
    }
    return sizeof(struct node);
}

/* A node that is linked nowhere. Return: NULL when out of memory. */
static struct node *node_new(struct node_table *t, enum node_kind kind, mode_t mode)
{
    struct node *n = calloc(1, allocated_size(kind));

    if (n == NULL)
        return NULL;
    n->id = t->next_id;
    n->kind = kind;
    n->mode = mode;
    n->changed = clock_wall();
    list_init(&n->link);
    list_init(&n->marked);
    if (kind == NODE_DIRECTORY) {
        list_init(&n->directory.children);
        n->directory.next_cookie = COOKIE_FIRST_CHILD;
    }
    if (tsearch(n, &t->by_id, compare_ids) == NULL) {
        free(n);
        return NULL;
    }
    t->next_id++;
    t->n_nodes++;
    node_mark(t, n);
    return n;
}

/* ---- content that readers hold */

/* The id of the directory in the root that a node is in; the root's, if the tree is one volume. */
static uint64_t volume_of(const struct node_table *t, const struct node *n)
{
    while (n->parent != NULL && n->parent != t->root)
        n = n->parent;
    if (n == t->root || n->parent == NULL || n->kind != NODE_DIRECTORY ||
        strncmp(n->name, "..", 2) == 0)
        return t->root->id;
    return n->id;
}

/* Its length stays: a reader must not take it for an empty file. */
static void drop_content(struct node_table *t, struct node *n)
{
    if (n->file.content.object == NULL)
        return;
    t->content_bytes -= n->file.content.len;
    n->file.content.object = object_unref(n->file.content.object);
    n->file.content.bytes = NULL;
    n->file.is_stored = false;
    node_mark(t, n);
}

static void drop_held(void *userdata, struct held_item *item)
{
    drop_content(userdata, CONTAINER_OF(item, struct node, file.held));
}

/*
 * @n: is about to be unlinked. A live file keeps its content, live_mounts.h limits their number;
 * and its volume, to which no name leads any more. In a directory that was unlinked as a whole a
 * file may have lost its content already.
 */
static void hold(struct node_table *t, struct node *n)
{
    if (n->kind == NODE_FILE && n->file.live != NULL)
        n->file.volume = node_volume_of_file(t, n);
    else if (n->kind == NODE_FILE && n->n_references > 0 && n->file.content.object != NULL)
        held_add(&t->held, &n->file.held, volume_of(t, n), n->file.content.object, drop_held);
}

uint64_t node_volume_of_file(const struct node_table *t, const struct node *file)
{
    assert(file->kind == NODE_FILE);
    if (file->file.volume != 0)
        return file->file.volume;
    return node_is_linked(file) ? volume_of(t, file) : held_volume(&file->file.held);
}

void node_set_volume(struct node *top, uint64_t volume)
{
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            n->file.volume = volume;
}

/* Before it gets a place elsewhere. */
static void keep_volume(const struct node_table *t, struct node *top)
{
    for (struct node *n = top; n != NULL; n = node_next(top, n))
        if (n->kind == NODE_FILE)
            n->file.volume = node_volume_of_file(t, n);
}

void node_limit_held_of(struct node_table *t, uint64_t volume)
{
    size_t n = held_limit(&t->held, volume);
    struct node *directory = node_by_id(t, volume);

    if (directory != NULL && directory->kind == NODE_DIRECTORY)
        directory->directory.n_dropped += n;
}

void node_limit_held(struct node_table *t, struct node *directory)
{
    node_limit_held_of(t, volume_of(t, directory));
}

/* ---- the end */

static void node_free(struct node_table *t, struct node *n)
{
    assert(!node_is_linked(n) && t->n_nodes > 0);
    tdelete(n, &t->by_id, compare_ids);
    list_remove(&n->link);
    t->n_nodes--;
    if (n->kind == NODE_FILE) {
        held_remove(&t->held, &n->file.held);
        drop_content(t, n);
        if (n->file.live != NULL) { /* RELEASE may come after FORGET */
            list_remove(&n->file.live->opens);
            list_remove(&n->file.live->versions);
        }
        free(n->file.live);
    } else if (n->kind == NODE_LINK) {
        free(n->target);
    }
    free(n->name);
    list_remove(&n->marked);
    if (t->journal != NULL)
        list_append(&t->freed, &n->marked); /* until it is recorded */
    else
        free(n);
}

static void node_free_if_unused(struct node_table *t, struct node *n)
{
    if (!node_is_linked(n) && n->n_references == 0 && node_is_empty(n))
        node_free(t, n);
}

int node_link(struct node_table *t, struct node *parent, const char *name, struct node *n)
{
    char *copy = strdup(name);

    assert(parent->kind == NODE_DIRECTORY && !node_is_linked(n));
    if (copy == NULL)
        return -ENOMEM;
    free(n->name);
    n->name = copy;
    n->parent = parent;
    if (tsearch(n, &t->by_name, compare_names) == NULL) {
        n->parent = NULL;
        return -ENOMEM;
    }
    if (n->kind == NODE_FILE)
        held_remove(&t->held, &n->file.held);
    n->cookie = parent->directory.next_cookie++;
    list_remove(&n->link);
    list_append(&parent->directory.children, &n->link);
    parent->directory.n_children++;
    parent->directory.n_subdirectories += n->kind == NODE_DIRECTORY;
    parent->changed = clock_wall();
    node_mark(t, n);
    node_mark(t, parent);
    return 0;
}

/*
 * Have a node that is unlinked remember its path from the root, as the kernel does, which shows it
 * in mountinfo when the node is mounted alone. Out of memory, it is not found by its path.
 */
static void remember_path(const struct node_table *t, struct node *n)
{
    char path[PAYLOAD_PATH_MAX + 2 * (PAYLOAD_ELEMENT_MAX + 2)], *at = path + sizeof(path) - 1;
    char *copy;

    *at = '\0';
    for (const struct node *each = n; each != t->root; each = each->parent) {
        size_t len = strlen(each->name);

        if (each->parent == NULL || len + 1 > (size_t)(at - path))
            return; /* below an unlinked directory, or too deep */
        if (*at != '\0')
            *--at = '/';
        at -= len;
        memcpy(at, each->name, len);
    }
    copy = strdup(at);
    if (copy == NULL)
        return;
    free(n->name);
    n->name = copy;
}

/* Take a node that is no longer in the index out of its directory. */
static void node_detach(struct node_table *t, struct node *n)
{
    struct node *parent = n->parent;

    assert(n != t->root && parent->directory.n_children > 0);
    if (t->remembers_paths && n->n_references > 0)
        remember_path(t, n);
    hold(t, n);
    list_remove(&n->link);
    parent->directory.n_children--;
    parent->directory.n_subdirectories -= n->kind == NODE_DIRECTORY;
    parent->changed = n->changed = clock_wall();
    node_mark(t, n);
    node_mark(t, parent);
    n->parent = NULL;
    list_append(&t->unlinked, &n->link);
    node_free_if_unused(t, n);
}

void node_unlink(struct node_table *t, struct node *n)
{
    tdelete(n, &t->by_name, compare_names);
    node_detach(t, n);
}

void node_unlink_children(struct node_table *t, struct node *directory)
{
    struct node *n = directory;

    /* without recursion: a spec determines the depth, and a worker's stack is small */
    while (n != directory || !node_is_empty(n)) {
        if (node_is_empty(n)) {
            struct node *parent = n->parent;

            assert(parent != NULL); /* below the directory */
            node_unlink(t, n);
            n = parent;
        } else {
            n = list_entry(n->directory.children.next, struct node, link);
        }
    }
}

struct node *node_add(struct node_table *t, struct node *parent, const char *name,
                      enum node_kind kind, mode_t mode)
{
    mode_t inherited = kind == NODE_DIRECTORY ? parent->mode & S_ISGID : 0;
    struct node *n = node_new(t, kind, mode | inherited);

    if (n == NULL)
        return NULL;
    n->uid = parent->uid;
    n->gid = parent->gid;
    if (node_link(t, parent, name, n) < 0) {
        node_free(t, n);
        return NULL;
    }
    return n;
}

/* Make the directories on the way to a file. *@path is left at the file's own name. */
static struct node *add_directories(struct node_table *t, struct node *directory, const char **path)
{
    const char *slash;

    while ((slash = strchr(*path, '/')) != NULL) {
        char name[PAYLOAD_ELEMENT_MAX + 1];
        size_t len = (size_t)(slash - *path);
        struct node *next;

        memcpy(name, *path, len);
        name[len] = '\0';
        next = node_by_name(t, directory, name);
        if (next == NULL)
            next = node_add(t, directory, name, NODE_DIRECTORY, 0755);
        if (next == NULL)
            return NULL;
        directory = next;
        *path = slash + 1;
    }
    return directory;
}

struct node *node_add_file(struct node_table *t, struct node *directory, const char *path,
                           const struct payload_file *file)
{
    const struct file_content content = {
        .object = file->object, .bytes = file->bytes, .len = file->len};
    struct node *parent = add_directories(t, directory, &path), *n;

    if (parent == NULL)
        return NULL;
    n = node_add(t, parent, path, NODE_FILE, file->attributes.mode);
    if (n == NULL)
        return NULL;
    node_set_owner(n, file->attributes.uid, file->attributes.gid);
    node_set_content(t, n, &content);
    return n;
}

static struct node *copy_one(struct node_table *t, struct node *parent, const char *name,
                             const struct node *original)
{
    struct node *n = node_add(t, parent, name, original->kind, original->mode);

    if (n == NULL)
        return NULL;
    n->mode = original->mode;
    node_set_owner(n, original->uid, original->gid);
    if (n->kind == NODE_FILE && original->file.content.object != NULL)
        node_set_content(t, n, &original->file.content);
    else if (n->kind == NODE_FILE)
        n->file.content.len = original->file.content.len; /* dropped: reads fail there as well */
    if (n->kind == NODE_FILE) {
        n->file.volume = node_volume_of_file(t, original);
        n->file.edition = node_edition(original);
    }
    if (n->kind == NODE_LINK) {
        n->target = strdup(original->target);
        if (n->target == NULL) {
            node_unlink(t, n);
            return NULL;
        }
    }
    n->changed = original->changed;
    return n;
}

struct node *node_add_copy(struct node_table *t, struct node *parent, const char *name,
                           const struct node *original)
{
    struct node *top = copy_one(t, parent, name, original), *copy = top;
    /* in step: what is visited, and the copy of the directory that it is in */
    const struct node *visited = original;
    struct node *next;

    while (copy != NULL && (next = node_next(original, visited)) != NULL) {
        struct node *into = copy;

        for (const struct node *up = visited; up != next->parent; up = up->parent)
            into = into->parent;
        copy = copy_one(t, into, next->name, next);
        into->changed = next->parent->changed;
        visited = next;
    }
    if (copy != NULL || top == NULL)
        return top;
    if (top->kind == NODE_DIRECTORY)
        node_unlink_children(t, top);
    node_unlink(t, top);
    return NULL;
}

/* ---- nodes that another process has made */

struct node *node_adopt(struct node_table *t, uint64_t id, enum node_kind kind)
{
    uint64_t next_id = t->next_id;
    struct node *n;

    assert(t->journal == NULL && node_by_id(t, id) == NULL);
    t->next_id = id;
    n = node_new(t, kind, 0);
    t->next_id = id >= next_id ? id + 1 : next_id;
    if (n == NULL)
        return NULL;
    n->is_adopted = true;
    n->n_references = 1;
    return n;
}

int node_adopt_link(struct node_table *t, struct node *parent, const char *name, struct node *n,
                    uint64_t cookie)
{
    struct timespec changed = parent->changed;
    uint64_t next_cookie = parent->directory.next_cookie;
    int r;

    if (node_by_name(t, parent, name) != NULL)
        return -EEXIST;
    parent->directory.next_cookie = cookie;
    r = node_link(t, parent, name, n);
    parent->directory.next_cookie = next_cookie > cookie ? next_cookie : cookie + 1;
    parent->changed = changed;
    return r;
}

int node_adopt_unlinked(struct node_table *t, struct node *n, const char *path, uint64_t held_for)
{
    assert(!node_is_linked(n));
    if (path != NULL && (n->name = strdup(path)) == NULL)
        return -ENOMEM;
    list_append(&t->unlinked, &n->link);
    if (n->kind == NODE_FILE && held_for != 0 && n->file.content.object != NULL)
        held_add(&t->held, &n->file.held, held_for, n->file.content.object, drop_held);
    return 0;
}

size_t node_list_adopted_unlinked(struct node_table *t, uint64_t *ids, size_t max)
{
    size_t n_found = 0;
    struct node *top;

    list_for_each (top, &t->unlinked, link) {
        const struct node *n = top;

        do {
            if (n->is_adopted && n_found < max)
                ids[n_found] = n->id;
            n_found += n->is_adopted;
            n = node_next(top, n);
        } while (n != NULL);
    }
    return n_found;
}

void node_release_adopted(struct node_table *t, uint64_t id)
{
    struct node *n = node_by_id(t, id);

    if (n == NULL || !n->is_adopted)
        return;
    n->is_adopted = false;
    node_forget(t, n, n->n_references);
}

/* ---- the journal */

static void free_recorded(struct node_table *t)
{
    struct node *n, *tmp;

    list_for_each_safe (n, tmp, &t->changed, marked)
        list_remove(&n->marked);
    list_for_each_safe (n, tmp, &t->freed, marked) {
        list_remove(&n->marked);
        free(n);
    }
}

void node_table_record(struct node_table *t)
{
    if (t->journal == NULL || (list_is_empty(&t->changed) && list_is_empty(&t->freed)))
        return;
    t->journal->record(t->journal, t);
    free_recorded(t);
}

void node_table_set_journal(struct node_table *t, struct node_journal *journal)
{
    free_recorded(t);
    t->journal = journal;
}

/* No other thread changes the journal meanwhile. */
void node_table_make_room(struct node_table *t, uint64_t bytes)
{
    struct node_journal *journal;

    {
        NODE_TABLE_GUARD(t);
        journal = t->journal;
    }
    if (journal != NULL)
        journal->make_room(journal, bytes);
}

/* ---- the table */

int node_table_init(struct node_table *t, uint64_t root_id, mode_t root_mode)
{
    *t = (struct node_table){.next_id = root_id};
    list_init(&t->unlinked);
    list_init(&t->changed);
    list_init(&t->freed);
    list_init(&t->removed);
    held_init(&t->held, t);
    t->root = node_new(t, NODE_DIRECTORY, root_mode);
    if (t->root == NULL)
        return -ENOMEM;
    t->root->parent = t->root;
    t->root->n_references = 1;
    pthread_mutex_init(&t->lock, NULL);
    return 0;
}

void node_table_deinit(struct node_table *t)
{
    node_table_set_journal(
        t, NULL); /* what follows is the end of the process's part, not the tree's */
    while (t->by_name != NULL)
        node_unlink_children(t, (*(struct node **)t->by_name)->parent);
    /* tdelete() in node_free() takes the node out, so the first one is always a new one */
    while (t->by_id != NULL) {
        struct node *n = *(struct node **)t->by_id;

        n->parent = NULL;
        node_free(t, n);
    }
    while (!list_is_empty(&t->removed))
        node_free_removed(list_entry(t->removed.next, struct removed_name, link));
    held_deinit(&t->held);
    open_table_deinit(&t->opens);
    assert(t->n_nodes == 0 && t->content_bytes == 0);
    pthread_mutex_destroy(&t->lock);
}

/* ---- names that an earlier process has removed */

int node_note_removed(struct node_table *t, uint64_t parent, const char *name, size_t len,
                      bool is_directory)
{
    struct removed_name *removed = calloc(1, sizeof(*removed) + len + 1);

    if (removed == NULL)
        return -ENOMEM;
    removed->parent = parent;
    removed->is_directory = is_directory;
    memcpy(removed->name, name, len);
    list_append(&t->removed, &removed->link);
    return 0;
}

void node_free_removed(struct removed_name *removed)
{
    list_remove(&removed->link);
    free(removed);
}

/* ---- changing */

/* Move a node to another name in the index. Return: 0, or -ENOMEM, unchanged. */
static int reindex(struct node_table *t, struct node *n, char *new_name)
{
    const struct node like = {.parent = n->parent, .name = new_name};

    /* 1. a slot for the new name, which may be that of the node to replace */
    if (tsearch(&like, &t->by_name, compare_names) == NULL)
        return -ENOMEM;
    /* 2. drop the old name; this may move slots, so the new one is searched again */
    tdelete(n, &t->by_name, compare_names);
    free(n->name);
    n->name = new_name;
    *(struct node **)tfind(n, &t->by_name, compare_names) = n;
    return 0;
}

int node_rename(struct node_table *t, struct node *n, const char *new_name, struct node *old)
{
    char *copy = strdup(new_name);

    if (copy == NULL || reindex(t, n, copy) < 0) {
        free(copy);
        return -ENOMEM;
    }
    if (old != NULL) {
        list_remove(&n->link);
        n->cookie = old->cookie;
        list_append(old->link.next, &n->link); /* "append" puts it before its argument */
        node_detach(t, old);
    }
    n->changed = n->parent->changed = clock_wall();
    node_mark(t, n);
    node_mark(t, n->parent);
    return 0;
}

static void swap_places(struct node *a, struct node *b)
{
    struct list placeholder;

    list_init(&placeholder);
    list_append(&a->link, &placeholder); /* before it */
    list_remove(&a->link);
    list_append(&b->link, &a->link);
    list_remove(&b->link);
    list_append(&placeholder, &b->link);
    list_remove(&placeholder);
}

void node_exchange(struct node_table *t, struct node *a, struct node *b)
{
    struct node **slot_of_a = tfind(a, &t->by_name, compare_names);
    struct node **slot_of_b = tfind(b, &t->by_name, compare_names);
    struct node *parent = a->parent;
    char *name = a->name;
    uint64_t cookie = a->cookie;

    assert(a->kind == b->kind && slot_of_a != NULL && slot_of_b != NULL);
    keep_volume(t, a);
    keep_volume(t, b);
    *slot_of_a = b;
    *slot_of_b = a;
    swap_places(a, b);
    a->parent = b->parent;
    a->name = b->name;
    a->cookie = b->cookie;
    b->parent = parent;
    b->name = name;
    b->cookie = cookie;
    a->parent->changed = b->parent->changed = clock_wall();
    node_mark(t, a);
    node_mark(t, b);
    node_mark(t, a->parent);
    node_mark(t, b->parent);
}

void node_set_owner(struct node *n, uid_t uid, gid_t gid)
{
    if (uid != (uid_t)-1)
        n->uid = uid;
    if (gid != (gid_t)-1)
        n->gid = gid;
}

int node_make_live(struct node *file)
{
    struct node_live *live;

    assert(file->kind == NODE_FILE);
    if (file->file.live != NULL)
        return 0;
    live = calloc(1, sizeof(*live));
    if (live == NULL)
        return -ENOMEM;
    list_init(&live->versions);
    list_init(&live->opens);
    file->file.live = live;
    return 0;
}

void node_set_content(struct node_table *t, struct node *file, const struct file_content *content)
{
    assert(file->kind == NODE_FILE && content->object != NULL);
    object_ref(content->object);
    held_remove(&t->held, &file->file.held);
    drop_content(t, file);
    t->content_bytes += content->len;
    file->file.content = *content;
    file->changed = clock_wall();
    node_mark(t, file);
}

/* Whether the kernel holds a node of an unlinked directory. */
static bool is_held(const struct node *top)
{
    const struct node *n = top;

    for (; n != NULL; n = node_next(top, n))
        if (n->n_references > 0)
            return true;
    return false;
}

/* Free the unlinked directory that a node is part of, if the kernel holds no node of it. */
static void free_unlinked_if_unused(struct node_table *t, struct node *n)
{
    struct node *top = n;

    while (top->parent != NULL && top->parent != top)
        top = top->parent;
    if (top->parent != NULL || is_held(top))
        return;
    if (top->kind == NODE_DIRECTORY) {
        top->n_references++; /* the end of its children must not be its own */
        node_unlink_children(t, top);
        top->n_references--;
    }
    node_free_if_unused(t, top);
}

void node_forget(struct node_table *t, struct node *n, uint64_t n_references)
{
    if (n == t->root)
        return;
    n->n_references -= n_references < n->n_references ? n_references : n->n_references;
    if (n->is_adopted && n->n_references == 0)
        n->n_references = 1;
    if (n->n_references == 0)
        free_unlinked_if_unused(t, n);
}

/* ---- attributes */

static size_t node_size(const struct node *n)
{
    if (n->kind == NODE_FILE)
        return n->file.content.len;
    if (n->kind == NODE_LINK)
        return strlen(n->target);
    return (n->directory.n_children + 2) * DIRENT_BYTES;
}

static nlink_t node_n_links(const struct node *n)
{
    if (n->kind == NODE_DIRECTORY)
        return node_is_linked(n) ? (nlink_t)(2 + n->directory.n_subdirectories) : 0;
    return node_is_linked(n) ? 1 : 0;
}

void node_stat(const struct node *n, struct stat *ret_stat)
{
    static const mode_t types[] = {
        [NODE_DIRECTORY] = S_IFDIR, [NODE_FILE] = S_IFREG, [NODE_LINK] = S_IFLNK};
    size_t size = node_size(n);
    size_t n_blocks = n->kind == NODE_FILE ? (size + BLOCK_BYTES - 1) / BLOCK_BYTES : 0;

    *ret_stat = (struct stat){
        .st_ino = n->id,
        .st_mode = types[n->kind] | n->mode,
        .st_nlink = node_n_links(n),
        .st_uid = n->uid,
        .st_gid = n->gid,
        .st_size = (off_t)size,
        .st_blksize = BLOCK_BYTES,
        .st_blocks = (blkcnt_t)(n_blocks * (BLOCK_BYTES / 512)),
        .st_atim = n->changed,
        .st_mtim = n->changed,
        .st_ctim = n->changed,
    };
}
