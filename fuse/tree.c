/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node lives while it is linked in a directory or while the kernel holds references to it
 * (lookups that it has not yet forgotten). Removing a generation unlinks its nodes; those that
 * somebody still has open, or mounted, or merely cached, stay readable by id until the kernel
 * forgets them, and only then does their object's memory go (cache/object.c wipes it).
 *
 * A directory that is kept (tree_keep()) outlives the one that it was in, which then is a tree of
 * its own with it, an orphan. That goes as a whole, when nobody holds anything of it any more.
 *
 * Ids count up and are never used again, so that an id stands for one node for ever. Two balanced
 * trees of the C library find nodes: one by id, one by parent and name. A directory also keeps its
 * children in a list, in the order of their cookies, which readdir hands out as offsets: an entry's
 * cookie never changes, so a reader that lists a directory while it changes sees every entry that
 * was there all along exactly once. A link that is renamed over another takes the other's place in
 * that order, for the same reason: ..data must not be missed or seen twice.
 */
#include "fuse/tree.h"

#include <pthread.h>
#include <search.h>

#include "base/clock.h"
#include "base/list.h"

#define COOKIE_DOT         1u
#define COOKIE_DOT_DOT     2u
#define COOKIE_FIRST_CHILD 3u

#define BLOCK_BYTES  4096u /* tmpfs counts in pages */
#define DIRENT_BYTES 20u   /* and gives a directory this much size per entry */

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_LINK };

struct node {
    uint64_t id;
    uint64_t n_references; /* the kernel's */
    enum node_kind kind;
    mode_t mode; /* permissions */
    uid_t uid;
    gid_t gid;
    struct timespec changed;
    /* linked nodes only; the root is its own parent and has no name */
    struct node *parent;
    char *name;
    struct list link;
    uint64_t cookie;
    union {
        struct {
            struct list children;
            uint64_t next_cookie;
            size_t n_children;
            size_t n_subdirectories;
            bool is_kept;
        } directory;
        struct tree_content file;
        char *target;
    };
};

struct tree {
    pthread_mutex_t lock; /* everything below */
    uint64_t next_id;
    void *by_id;
    void *by_name;
    struct node *root;
    struct list orphans; /* of removed directories that still have something in them */
    char *staged_name;
    struct payload *staged_payload;
    const struct payload_file *staged_file;
    struct tree_usage usage;
};

/* ---- nodes */

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

static struct node *node_by_id(struct tree *t, uint64_t id)
{
    const struct node like = {.id = id};
    struct node *const *found = tfind(&like, &t->by_id, compare_ids);

    return found != NULL ? *found : NULL;
}

static struct node *node_by_name(struct tree *t, struct node *parent, const char *name)
{
    char *mutable_name = strdupa(name);
    const struct node like = {.parent = parent, .name = mutable_name};
    struct node *const *found = tfind(&like, &t->by_name, compare_names);

    return found != NULL ? *found : NULL;
}

static bool node_is_linked(const struct node *n)
{
    return n->parent != NULL;
}

static void node_free(struct tree *t, struct node *n)
{
    (void)tdelete(n, &t->by_id, compare_ids);
    list_remove(&n->link);
    t->usage.n_nodes--;
    if (n->kind == NODE_FILE) {
        t->usage.content_bytes -= n->file.len;
        (void)object_unref(n->file.object);
    } else if (n->kind == NODE_LINK) {
        free(n->target);
    }
    free(n->name);
    free(n);
}

static bool node_is_empty(const struct node *n)
{
    return n->kind != NODE_DIRECTORY || list_is_empty(&n->directory.children);
}

static void node_free_if_unused(struct tree *t, struct node *n)
{
    if (!node_is_linked(n) && n->n_references == 0 && node_is_empty(n))
        node_free(t, n);
}

static struct node *node_new(struct tree *t, enum node_kind kind, mode_t mode)
{
    struct node *n = calloc(1, sizeof(*n));

    if (n == NULL)
        return NULL;
    n->id = t->next_id;
    n->kind = kind;
    n->mode = mode;
    n->changed = clock_wall();
    list_init(&n->link);
    if (kind == NODE_DIRECTORY) {
        list_init(&n->directory.children);
        n->directory.next_cookie = COOKIE_FIRST_CHILD;
    }
    if (tsearch(n, &t->by_id, compare_ids) == NULL) {
        free(n);
        return NULL;
    }
    t->next_id++;
    t->usage.n_nodes++;
    return n;
}

/* Give a node its place. Return: 0 or -ENOMEM, then it is not linked. */
static int node_link(struct tree *t, struct node *parent, const char *name, struct node *n)
{
    n->name = strdup(name);
    if (n->name == NULL)
        return -ENOMEM;
    n->parent = parent;
    if (tsearch(n, &t->by_name, compare_names) == NULL) {
        n->parent = NULL;
        return -ENOMEM;
    }
    n->cookie = parent->directory.next_cookie++;
    list_append(&parent->directory.children, &n->link);
    parent->directory.n_children++;
    parent->directory.n_subdirectories += n->kind == NODE_DIRECTORY;
    parent->changed = clock_wall();
    return 0;
}

/* Take a node that is no longer in the index out of its directory. */
static void node_detach(struct tree *t, struct node *n)
{
    struct node *parent = n->parent;

    list_remove(&n->link);
    parent->directory.n_children--;
    parent->directory.n_subdirectories -= n->kind == NODE_DIRECTORY;
    parent->changed = n->changed = clock_wall();
    n->parent = NULL;
    if (!node_is_empty(n))
        list_append(&t->orphans, &n->link);
    node_free_if_unused(t, n);
}

/* Take a node out of its directory; it lives on if the kernel holds it. */
static void node_unlink(struct tree *t, struct node *n)
{
    (void)tdelete(n, &t->by_name, compare_names);
    node_detach(t, n);
}

/* Unlink everything below a directory. */
static void node_unlink_children(struct tree *t, struct node *directory)
{
    struct node *child, *tmp;

    list_for_each_safe (child, tmp, &directory->directory.children, link) {
        if (child->kind == NODE_DIRECTORY)
            node_unlink_children(t, child);
        node_unlink(t, child);
    }
}

/* Whether somebody holds anything of it. */
static bool node_is_held(const struct node *n)
{
    const struct node *child;

    if (n->n_references > 0)
        return true;
    if (n->kind != NODE_DIRECTORY)
        return false;
    if (n->directory.is_kept)
        return true;
    list_for_each (child, &n->directory.children, link)
        if (node_is_held(child))
            return true;
    return false;
}

static void orphan_free(struct tree *t, struct node *top)
{
    list_remove(&top->link);
    top->n_references++; /* its children's going is not to be its own */
    node_unlink_children(t, top);
    top->n_references--;
    node_free_if_unused(t, top);
}

/* If a node is part of an orphan that nobody holds, that goes. */
static void orphan_free_if_unused(struct tree *t, struct node *n)
{
    struct node *top = n;

    while (top->parent != NULL && top->parent != top)
        top = top->parent;
    if (top->parent == NULL && !node_is_empty(top) && !node_is_held(top))
        orphan_free(t, top);
}

static size_t node_size(const struct node *n)
{
    if (n->kind == NODE_FILE)
        return n->file.len;
    if (n->kind == NODE_LINK)
        return strlen(n->target);
    return (n->directory.n_children + 2) * DIRENT_BYTES;
}

static nlink_t node_n_links(const struct node *n)
{
    if (n->kind == NODE_DIRECTORY)
        return node_is_linked(n) ? 2 + n->directory.n_subdirectories : 0;
    return node_is_linked(n) ? 1 : 0;
}

static void node_stat(const struct node *n, struct stat *ret_stat)
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

/* ---- the tree itself */

int tree_new(const struct tree_options *options, struct tree **ret_tree)
{
    struct tree *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ENOMEM;
    (void)pthread_mutex_init(&t->lock, NULL);
    list_init(&t->orphans);
    t->next_id = TREE_ROOT_ID;
    t->root = node_new(t, NODE_DIRECTORY, options->root_mode);
    if (t->root == NULL) {
        free(t);
        return -ENOMEM;
    }
    t->root->uid = options->uid;
    t->root->gid = options->gid;
    t->root->parent = t->root;
    t->root->n_references = 1;
    *ret_tree = t;
    return 0;
}

static void node_drop_references(struct tree *t)
{
    /* tdelete() in node_free() takes the node out, so the first one is always a new one */
    while (t->by_id != NULL) {
        struct node *n = *(struct node **)t->by_id;

        n->parent = NULL;
        node_free(t, n);
    }
}

struct tree *tree_free(struct tree *tree)
{
    if (tree == NULL)
        return NULL;
    node_unlink_children(tree, tree->root);
    while (!list_is_empty(&tree->orphans))
        orphan_free(tree, list_entry(tree->orphans.next, struct node, link));
    node_drop_references(tree); /* what the kernel did not live to forget, and the root */
    free(tree->staged_name);
    (void)payload_unref(tree->staged_payload);
    (void)pthread_mutex_destroy(&tree->lock);
    free(tree);
    return NULL;
}

static void tree_unlock(struct tree **t)
{
    (void)pthread_mutex_unlock(&(*t)->lock);
}

/* Hold the lock until the end of the enclosing block. */
#define TREE_LOCK(t)                                                                               \
    _cleanup_(tree_unlock) struct tree *_locked = (t);                                             \
    (void)pthread_mutex_lock(&_locked->lock)

static int find_directory(struct tree *t, uint64_t id, struct node **ret_node)
{
    struct node *n = node_by_id(t, id);

    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    *ret_node = n;
    return 0;
}

static int find_child(struct tree *t, uint64_t parent, const char *name, struct node **ret_node)
{
    struct node *directory, *n;
    int r = find_directory(t, parent, &directory);

    if (r < 0)
        return r;
    n = node_by_name(t, directory, name);
    if (n == NULL)
        return -ENOENT;
    *ret_node = n;
    return 0;
}

/* The directory in which a name is to be made. */
static int find_room(struct tree *t, uint64_t parent, const char *name, struct node **ret_directory)
{
    int r = find_directory(t, parent, ret_directory);

    if (r < 0)
        return r;
    return node_by_name(t, *ret_directory, name) != NULL ? -EEXIST : 0;
}

/* ---- readers */

int tree_lookup(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent, name, &n);
    if (r < 0)
        return r;
    n->n_references++;
    node_stat(n, ret_stat);
    return 0;
}

void tree_forget(struct tree *tree, uint64_t id, uint64_t n)
{
    struct node *node;

    TREE_LOCK(tree);
    node = node_by_id(tree, id);
    if (node == NULL || node == tree->root)
        return;
    node->n_references -= n < node->n_references ? n : node->n_references;
    if (node->n_references > 0)
        return;
    if (node_is_linked(node) || !node_is_empty(node))
        orphan_free_if_unused(tree, node);
    else
        node_free(tree, node);
}

int tree_stat(struct tree *tree, uint64_t id, struct stat *ret_stat)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL)
        return -ESTALE;
    node_stat(n, ret_stat);
    return 0;
}

int tree_readlink(struct tree *tree, uint64_t id, char **ret_target)
{
    struct node *n;
    char *target;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_LINK)
        return -EINVAL;
    target = strdup(n->target);
    if (target == NULL)
        return -ENOMEM;
    *ret_target = target;
    return 0;
}

int tree_read_at(struct tree *tree, uint64_t id, struct tree_content *ret_content,
                 struct timespec *ret_changed)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_FILE)
        return n->kind == NODE_DIRECTORY ? -EISDIR : -EINVAL;
    *ret_content = n->file;
    *ret_changed = n->changed;
    (void)object_ref(ret_content->object);
    return 0;
}

int tree_read(struct tree *tree, uint64_t id, struct tree_content *ret_content)
{
    struct timespec changed;

    return tree_read_at(tree, id, ret_content, &changed);
}

int tree_readdir(struct tree *tree, uint64_t id, uint64_t cookie, bool count_references,
                 tree_visit_fn *visit, void *userdata)
{
    struct node *directory, *child;
    struct stat stat;
    int r;

    TREE_LOCK(tree);
    r = find_directory(tree, id, &directory);
    if (r < 0)
        return r;
    node_stat(directory, &stat);
    if (cookie < COOKIE_DOT && !visit(userdata, ".", &stat, COOKIE_DOT))
        return 0;
    node_stat(node_is_linked(directory) ? directory->parent : directory, &stat);
    if (cookie < COOKIE_DOT_DOT && !visit(userdata, "..", &stat, COOKIE_DOT_DOT))
        return 0;
    list_for_each (child, &directory->directory.children, link) {
        if (child->cookie <= cookie)
            continue;
        node_stat(child, &stat);
        if (!visit(userdata, child->name, &stat, child->cookie))
            return 0;
        child->n_references += count_references;
    }
    return 0;
}

/* ---- the publisher */

int tree_find(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent, name, &n);
    if (r == 0)
        node_stat(n, ret_stat);
    return r;
}

/* Return: NULL if there is no such node. */
static struct node *node_by_path(struct tree *t, struct node *directory, const char *path)
{
    struct node *n = directory;

    while (n != NULL && *path != '\0') {
        char name[PAYLOAD_ELEMENT_MAX + 1];
        size_t len = strcspn(path, "/");

        if (n->kind != NODE_DIRECTORY || len > PAYLOAD_ELEMENT_MAX)
            return NULL;
        (void)memcpy(name, path, len);
        name[len] = '\0';
        n = node_by_name(t, n, name);
        path += len + (path[len] == '/');
    }
    return n;
}

int tree_find_path(struct tree *tree, uint64_t parent, const char *path, struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    TREE_LOCK(tree);
    r = find_directory(tree, parent, &directory);
    if (r < 0)
        return r;
    n = node_by_path(tree, directory, path);
    if (n == NULL)
        return -ENOENT;
    node_stat(n, ret_stat);
    return 0;
}

static bool same_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

bool tree_same_content(struct tree *tree, uint64_t a, uint64_t b)
{
    const struct node *x, *y;

    TREE_LOCK(tree);
    x = node_by_id(tree, a);
    y = node_by_id(tree, b);
    return x != NULL && y != NULL && x->kind == NODE_FILE && y->kind == NODE_FILE &&
           same_bytes(x->file.bytes, x->file.len, y->file.bytes, y->file.len);
}

int tree_stage(struct tree *tree, const char *name, struct payload *payload)
{
    char *copy = NULL;

    TREE_LOCK(tree);
    if (payload != NULL) {
        copy = strdup(name);
        if (copy == NULL)
            return -ENOMEM;
        (void)payload_ref(payload);
    }
    free(tree->staged_name);
    (void)payload_unref(tree->staged_payload);
    tree->staged_name = copy;
    tree->staged_payload = payload;
    return 0;
}

/*
 * Make a node and link it. It belongs to whom its directory belongs to; directories in one that is
 * setgid are so as well, as the kernel has it. Return: NULL for want of memory.
 */
static struct node *add_child(struct tree *t, struct node *parent, const char *name,
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
static struct node *add_directories(struct tree *t, struct node *directory, const char **path)
{
    const char *slash;

    while ((slash = strchr(*path, '/')) != NULL) {
        char name[PAYLOAD_ELEMENT_MAX + 1];
        size_t len = (size_t)(slash - *path);
        struct node *next;

        (void)memcpy(name, *path, len);
        name[len] = '\0';
        next = node_by_name(t, directory, name);
        if (next == NULL)
            next = add_child(t, directory, name, NODE_DIRECTORY, 0755);
        if (next == NULL)
            return NULL;
        directory = next;
        *path = slash + 1;
    }
    return directory;
}

static void set_owner(struct node *n, uid_t uid, gid_t gid)
{
    if (uid != (uid_t)-1)
        n->uid = uid;
    if (gid != (gid_t)-1)
        n->gid = gid;
}

/* A new file has no content yet; an old one's goes. */
static void set_content(struct tree *t, struct node *n, const struct payload_file *file)
{
    struct object *old = n->file.object;

    t->usage.content_bytes += file->len - n->file.len;
    n->file = (struct tree_content){
        .object = object_ref(file->object), .bytes = file->bytes, .len = file->len};
    n->changed = clock_wall();
    (void)object_unref(old);
}

static struct node *add_file(struct tree *t, struct node *parent, const char *name,
                             const struct payload_file *file)
{
    struct node *n = add_child(t, parent, name, NODE_FILE, file->attributes.mode);

    if (n == NULL)
        return NULL;
    set_owner(n, file->attributes.uid, file->attributes.gid);
    set_content(t, n, file);
    return n;
}

static int add_payload(struct tree *t, struct node *directory, const struct payload *payload)
{
    for (size_t i = 0; i < payload->n_files; i++) {
        const struct payload_file *file = &payload->files[i];
        const char *name = file->path;
        struct node *parent = add_directories(t, directory, &name);

        if (parent == NULL || add_file(t, parent, name, file) == NULL)
            return -ENOMEM;
    }
    return 0;
}

int tree_mkdir(struct tree *tree, uint64_t parent, const char *name, mode_t mode,
               struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r < 0)
        return r;
    n = add_child(tree, directory, name, NODE_DIRECTORY, mode);
    if (n == NULL)
        return -ENOMEM;
    if (tree->staged_name != NULL && streq(name, tree->staged_name))
        r = add_payload(tree, n, tree->staged_payload);
    if (r < 0) {
        node_unlink_children(tree, n);
        node_unlink(tree, n);
        return r;
    }
    n->n_references++;
    node_stat(n, ret_stat);
    return 0;
}

int tree_symlink(struct tree *tree, uint64_t parent, const char *name, const char *target,
                 struct stat *ret_stat)
{
    struct node *directory, *n;
    char *copy;
    int r;

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r < 0)
        return r;
    copy = strdup(target);
    n = copy != NULL ? add_child(tree, directory, name, NODE_LINK, 0777) : NULL;
    if (n == NULL) {
        free(copy);
        return -ENOMEM;
    }
    n->target = copy;
    n->n_references++;
    node_stat(n, ret_stat);
    return 0;
}

/* Let @n take the place of @old in the list of the directory that both are in. */
static void take_place(struct node *n, const struct node *old)
{
    list_remove(&n->link);
    n->cookie = old->cookie;
    list_append(old->link.next, &n->link); /* "append" puts it before its argument */
}

/* Move a node to another name in the index. Return: 0, or -ENOMEM and nothing was done. */
static int reindex(struct tree *t, struct node *n, char *new_name)
{
    const struct node like = {.parent = n->parent, .name = new_name};

    /* 1. a slot for the new name, be it that of the node to be replaced */
    if (tsearch(&like, &t->by_name, compare_names) == NULL)
        return -ENOMEM;
    /* 2. the old name goes; this may move slots about, so the new one is looked up again */
    (void)tdelete(n, &t->by_name, compare_names);
    free(n->name);
    n->name = new_name;
    *(struct node **)tfind(n, &t->by_name, compare_names) = n;
    return 0;
}

int tree_rename(struct tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                const char *new_name)
{
    struct node *n, *old;
    char *copy;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent, name, &n);
    if (r < 0)
        return r;
    if (new_parent != parent)
        return -EXDEV;
    old = node_by_name(tree, n->parent, new_name);
    if (old == n)
        return 0;
    if (n->kind != NODE_LINK || (old != NULL && old->kind != NODE_LINK))
        return -EISDIR;
    copy = strdup(new_name);
    if (copy == NULL || reindex(tree, n, copy) < 0) {
        free(copy);
        return -ENOMEM;
    }
    if (old != NULL) {
        take_place(n, old);
        node_detach(tree, old);
    }
    n->changed = n->parent->changed = clock_wall();
    return 0;
}

int tree_unlink(struct tree *tree, uint64_t parent, const char *name)
{
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent, name, &n);
    if (r < 0)
        return r;
    if (n->kind == NODE_DIRECTORY)
        return -EISDIR;
    node_unlink(tree, n);
    return 0;
}

bool tree_is_in(struct tree *tree, uint64_t id, uint64_t directory)
{
    const struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    while (n != NULL && n->parent != n) {
        n = n->parent;
        if (n != NULL && n->id == directory)
            return true;
    }
    return false;
}

static bool has_only_kept(const struct node *directory)
{
    const struct node *child;

    list_for_each (child, &directory->directory.children, link)
        if (child->kind != NODE_DIRECTORY || !child->directory.is_kept)
            return false;
    return true;
}

int tree_rmdir(struct tree *tree, uint64_t parent, const char *name)
{
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent, name, &n);
    if (r < 0)
        return r;
    if (n->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    if (!has_only_kept(n))
        return -ENOTEMPTY;
    node_unlink(tree, n);
    return 0;
}

void tree_keep(struct tree *tree, uint64_t id, bool is_kept)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL || n->kind != NODE_DIRECTORY)
        return;
    n->directory.is_kept = is_kept;
    if (!is_kept)
        orphan_free_if_unused(tree, n);
}

bool tree_is_kept(struct tree *tree, uint64_t id)
{
    const struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    return n != NULL && n->kind == NODE_DIRECTORY && n->directory.is_kept;
}

int tree_chmod(struct tree *tree, uint64_t id, mode_t mode)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL)
        return -ESTALE;
    n->mode = mode & 07777;
    n->changed = clock_wall();
    return 0;
}

int tree_chown(struct tree *tree, uint64_t id, uid_t uid, gid_t gid)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL)
        return -ESTALE;
    set_owner(n, uid, gid);
    n->changed = clock_wall();
    return 0;
}

/* ---- changes in place */

void tree_stage_file(struct tree *tree, const struct payload_file *file)
{
    TREE_LOCK(tree);
    tree->staged_file = file;
}

int tree_mknod(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r < 0)
        return r;
    if (tree->staged_file == NULL)
        return -EROFS;
    n = add_file(tree, directory, name, tree->staged_file);
    if (n == NULL)
        return -ENOMEM;
    n->n_references++;
    node_stat(n, ret_stat);
    return 0;
}

size_t tree_update(struct tree *tree, uint64_t directory, const struct payload *payload,
                   size_t *ret_changed)
{
    struct node *root;
    size_t n_changed = 0;

    TREE_LOCK(tree);
    if (find_directory(tree, directory, &root) < 0)
        return 0;
    for (size_t i = 0; i < payload->n_files; i++) {
        const struct payload_file *file = &payload->files[i];
        struct node *n = node_by_path(tree, root, file->path);

        if (n == NULL || n->kind != NODE_FILE)
            continue;
        if (!same_bytes(n->file.bytes, n->file.len, file->bytes, file->len)) {
            ret_changed[n_changed++] = i;
            set_content(tree, n, file);
        } else {
            /* the same bytes of the newer object, so that the older one can go */
            struct timespec changed = n->changed;

            set_content(tree, n, file);
            n->changed = changed;
        }
    }
    return n_changed;
}

struct tree_usage tree_usage(struct tree *tree)
{
    TREE_LOCK(tree);
    return tree->usage;
}
