/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call takes the lock once, finds its nodes, and leaves the tree whole. What nodes are, how
 * long they live and in which order they are listed: node.c.
 *
 * The kernel has checked a request before it sends it (that a directory exists, that a name is
 * free), but not under this lock, and it may know of nodes that are gone. So each call checks
 * again, and an unknown id is -ESTALE, not a failed assertion.
 *
 * Changes are atomic for readers: mkdir makes a directory that is full (stage.c), and the rename of
 * a link also commits the switch of live files that is armed for its directory (live_switch.c),
 * under the same lock.
 */
#include "fuse/tree.h"

#include "fuse/node.h"

#define COOKIE_DOT     1u
#define COOKIE_DOT_DOT 2u

/* What the next rename of a link in a directory calls. */
struct armed {
    uint64_t parent;        /* node id */
    tree_commit_fn *commit; /* NULL for none */
    void *userdata;
};

struct tree {
    struct node_table nodes; /* its lock holds for everything below, too */
    struct stage stages[STAGES_MAX];
    struct armed armed[STAGES_MAX]; /* one for each thread that changes the tree */
};

/* ---- the tree itself */

int tree_new(const struct tree_options *options, struct tree **ret_tree)
{
    struct tree *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ENOMEM;
    if (node_table_init(&t->nodes, TREE_ROOT_ID, options->root_mode) < 0) {
        free(t);
        return -ENOMEM;
    }
    t->nodes.remembers_paths = options->answers_open;
    node_set_owner(t->nodes.root, options->uid, options->gid);
    *ret_tree = t;
    return 0;
}

bool tree_answers_open(const struct tree *tree)
{
    return tree->nodes.remembers_paths;
}

struct tree *tree_free(struct tree *tree)
{
    if (tree == NULL)
        return NULL;
    node_table_deinit(&tree->nodes);
    for (size_t i = 0; i < STAGES_MAX; i++) {
        assert(tree->armed[i].commit == NULL);
        stage_deinit(&tree->stages[i]);
    }
    free(tree);
    return NULL;
}

struct node_table *tree_nodes(struct tree *tree)
{
    return &tree->nodes;
}

static int find_directory(struct node_table *t, uint64_t id, struct node **ret_node)
{
    struct node *n = node_by_id(t, id);

    if (n == NULL)
        return -ESTALE;
    if (n->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    *ret_node = n;
    return 0;
}

static int find_child(struct node_table *t, uint64_t parent, const char *name,
                      struct node **ret_node)
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

/* Whether a node, and each directory above it, has its name. */
static bool is_reachable(const struct node_table *t, const struct node *n)
{
    while (n != t->root && n->parent != NULL)
        n = n->parent;
    return n == t->root;
}

/*
 * The child of a directory that a change may be made in. An unlinked directory is freed when the
 * kernel forgets what is in it, so it receives no name. The kernel knows of its own removals; it
 * does not know of tree_detach().
 */
static int find_changeable(struct node_table *t, uint64_t parent, const char *name,
                           struct node **ret_node)
{
    int r = find_child(t, parent, name, ret_node);

    return r == 0 && !is_reachable(t, *ret_node) ? -ENOENT : r;
}

/* A directory in which a name is free. Return: 0; -EEXIST, -ENOENT, -ENOTDIR, -ESTALE. */
static int find_room(struct node_table *t, uint64_t parent, const char *name,
                     struct node **ret_directory)
{
    int r = find_directory(t, parent, ret_directory);

    if (r < 0)
        return r;
    if (!is_reachable(t, *ret_directory))
        return -ENOENT;
    return node_by_name(t, *ret_directory, name) != NULL ? -EEXIST : 0;
}

/* ---- readers */

int tree_lookup(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_child(&tree->nodes, parent, name, &n);
    if (r < 0)
        return r;
    n->n_references++;
    node_stat(n, ret_stat);
    return 0;
}

void tree_forget(struct tree *tree, uint64_t id, uint64_t n)
{
    struct node *node;

    NODE_TABLE_GUARD(&tree->nodes);
    node = node_by_id(&tree->nodes, id);
    if (node != NULL)
        node_forget(&tree->nodes, node, n);
}

int tree_stat(struct tree *tree, uint64_t id, struct stat *ret_stat)
{
    struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    if (n == NULL)
        return -ESTALE;
    node_stat(n, ret_stat);
    return 0;
}

int tree_readlink(struct tree *tree, uint64_t id, char **ret_target)
{
    struct node *n;
    char *target;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
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

int tree_read(struct tree *tree, uint64_t id, struct file_content *ret_content)
{
    struct node *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = node_find_file(&tree->nodes, id, &n);
    if (r < 0)
        return r;
    if (n->file.content.object == NULL)
        return -ESTALE; /* its readers held too much: held.c */
    *ret_content = n->file.content;
    object_ref(ret_content->object);
    return 0;
}

int tree_describe_file(struct tree *tree, uint64_t id, struct tree_file *ret_file)
{
    struct node *n;
    uint64_t volume;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = node_find_file(&tree->nodes, id, &n);
    if (r < 0)
        return r;
    volume = node_volume_of_file(&tree->nodes, n);
    if (volume == 0 || n->file.content.object == NULL)
        return -ESTALE;
    *ret_file = (struct tree_file){
        .volume = volume, .edition = node_edition(n), .content = n->file.content};
    object_ref(ret_file->content.object);
    return 0;
}

int tree_readdir(struct tree *tree, uint64_t id, uint64_t cookie, bool count_references,
                 tree_visit_fn *visit, void *userdata)
{
    struct node *directory, *child;
    struct stat stat;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_directory(&tree->nodes, id, &directory);
    if (r < 0)
        return r;
    node_stat(directory, &stat);
    if (cookie < COOKIE_DOT && !visit(userdata, ".", &stat, COOKIE_DOT))
        return 0;
    node_stat(node_is_linked(directory) ? directory->parent : directory, &stat);
    if (cookie < COOKIE_DOT_DOT && !visit(userdata, "..", &stat, COOKIE_DOT_DOT))
        return 0;
    list_for_each (child, &directory->directory.children, link) {
        if (child->cookie <= cookie || child->is_unlisted)
            continue;
        node_stat(child, &stat);
        if (!visit(userdata, child->name, &stat, child->cookie))
            return 0;
        child->n_references += count_references;
    }
    return 0;
}

int tree_take_removed(struct tree *tree, uint64_t id, tree_visit_fn *visit, void *userdata)
{
    struct removed_name *r, *next;

    NODE_TABLE_GUARD(&tree->nodes);
    list_for_each (r, &tree->nodes.removed, link) {
        const struct stat stat = {.st_mode = r->is_directory ? S_IFDIR : S_IFLNK};

        if (r->parent == id && !visit(userdata, r->name, &stat, 0))
            return -ENOMEM;
    }
    list_for_each_safe (r, next, &tree->nodes.removed, link)
        if (r->parent == id)
            node_free_removed(r);
    return 0;
}

/* ---- the publisher */

uint64_t tree_take_edition(struct tree *tree)
{
    NODE_TABLE_GUARD(&tree->nodes);
    return node_take_edition(&tree->nodes);
}

int tree_find(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_child(&tree->nodes, parent, name, &n);
    if (r == 0)
        node_stat(n, ret_stat);
    return r;
}

int tree_find_path(struct tree *tree, uint64_t parent, const char *path, struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_directory(&tree->nodes, parent, &directory);
    if (r < 0)
        return r;
    n = node_by_path(&tree->nodes, directory, path);
    if (n == NULL)
        return -ENOENT;
    node_stat(n, ret_stat);
    return 0;
}

int tree_find_unlinked(struct tree *tree, const char *path, struct stat *ret_stat)
{
    const struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_find_unlinked(&tree->nodes, path);
    if (n == NULL)
        return -ENOENT;
    node_stat(n, ret_stat);
    return 0;
}

int tree_stage(struct tree *tree, const char *name, struct payload *payload, bool is_live)
{
    struct stage *stage;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    stage = stage_take(tree->stages, gettid());
    r = stage_set_payload(stage, name, payload, is_live);
    stage_release(stage);
    return r;
}

void tree_stage_node(struct tree *tree, const struct staged_node *staged)
{
    struct stage *stage;

    NODE_TABLE_GUARD(&tree->nodes);
    stage = stage_take(tree->stages, gettid());
    stage_set_node(stage, staged);
    stage_release(stage);
}

/* The kernel gets a reference with the reply. */
static void reply_with(struct node *n, struct stat *ret_stat)
{
    n->n_references++;
    node_stat(n, ret_stat);
}

int tree_mkdir(struct tree *tree, pid_t thread, uint64_t parent, const char *name, mode_t mode,
               struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_room(&tree->nodes, parent, name, &directory);
    if (r == 0)
        r = stage_make_directory(stage_peek(tree->stages, thread), &tree->nodes, directory, name,
                                 mode, &n);
    if (r == 0)
        reply_with(n, ret_stat);
    return r;
}

int tree_mknod(struct tree *tree, pid_t thread, uint64_t parent, const char *name,
               struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_room(&tree->nodes, parent, name, &directory);
    if (r < 0)
        return r;
    r = stage_make_file(stage_peek(tree->stages, thread), &tree->nodes, directory, name, &n);
    if (r == 0)
        reply_with(n, ret_stat);
    return r;
}

int tree_symlink(struct tree *tree, uint64_t parent, const char *name, const char *target,
                 struct stat *ret_stat)
{
    struct node *directory, *n;
    char *copy;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_room(&tree->nodes, parent, name, &directory);
    if (r < 0)
        return r;
    copy = strdup(target);
    n = copy != NULL ? node_add(&tree->nodes, directory, name, NODE_LINK, 0777) : NULL;
    if (n == NULL) {
        free(copy);
        return -ENOMEM;
    }
    n->target = copy;
    n->is_unlisted = streq(name, TREE_UNLISTED_LINK);
    reply_with(n, ret_stat);
    return 0;
}

/* The lock is held. */
static void commit_armed(struct tree *tree, uint64_t parent)
{
    for (size_t i = 0; i < STAGES_MAX; i++)
        if (tree->armed[i].commit != NULL && tree->armed[i].parent == parent)
            TAKE(tree->armed[i].commit)(tree->armed[i].userdata);
}

int tree_rename(struct tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                const char *new_name)
{
    struct node *n, *old;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_changeable(&tree->nodes, parent, name, &n);
    if (r < 0)
        return r;
    if (new_parent != parent)
        return -EXDEV;
    old = node_by_name(&tree->nodes, n->parent, new_name);
    if (old == n)
        return 0;
    if (n->kind != NODE_LINK || (old != NULL && old->kind != NODE_LINK))
        return -EISDIR;
    r = node_rename(&tree->nodes, n, new_name, old);
    if (r == 0)
        commit_armed(tree, parent);
    return r;
}

/* The lock is held. Return: a place that is free. */
static struct armed *free_armed(struct tree *tree)
{
    for (size_t i = 0; i < STAGES_MAX; i++)
        if (tree->armed[i].commit == NULL)
            return &tree->armed[i];
    return NULL;
}

void tree_arm(struct tree *tree, uint64_t parent, tree_commit_fn *commit, void *userdata)
{
    struct armed *armed;

    NODE_TABLE_GUARD(&tree->nodes);
    armed = free_armed(tree);
    assert(armed != NULL);
    *armed = (struct armed){.parent = parent, .commit = commit, .userdata = userdata};
}

void tree_disarm(struct tree *tree, const void *userdata)
{
    NODE_TABLE_GUARD(&tree->nodes);
    for (size_t i = 0; i < STAGES_MAX; i++)
        if (tree->armed[i].userdata == userdata)
            tree->armed[i].commit = NULL;
}

int tree_exchange(struct tree *tree, uint64_t parent_a, const char *name_a, uint64_t parent_b,
                  const char *name_b)
{
    struct node *a, *b;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_changeable(&tree->nodes, parent_a, name_a, &a);
    if (r == 0)
        r = find_changeable(&tree->nodes, parent_b, name_b, &b);
    if (r < 0)
        return r;
    /* a directory and one that is in it would form a circle; the kernel refuses that as well */
    if (a->kind != b->kind || (a != b && (node_is_below(a, b) || node_is_below(b, a))))
        return -EINVAL;
    node_exchange(&tree->nodes, a, b);
    return 0;
}

int tree_unlink(struct tree *tree, uint64_t parent, const char *name)
{
    struct node *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_child(&tree->nodes, parent, name, &n);
    if (r < 0)
        return r;
    if (n->kind == NODE_DIRECTORY)
        return -EISDIR;
    node_unlink(&tree->nodes, n);
    return 0;
}

static bool has_listed_child(const struct node *directory)
{
    const struct node *child;

    list_for_each (child, &directory->directory.children, link)
        if (!child->is_unlisted)
            return true;
    return false;
}

int tree_rmdir(struct tree *tree, uint64_t parent, const char *name)
{
    struct node *n;
    int r;

    NODE_TABLE_GUARD(&tree->nodes);
    r = find_child(&tree->nodes, parent, name, &n);
    if (r < 0)
        return r;
    if (n->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    if (has_listed_child(n))
        return -ENOTEMPTY;
    node_unlink_children(&tree->nodes, n);
    node_unlink(&tree->nodes, n);
    return 0;
}

void tree_detach(struct tree *tree, uint64_t id)
{
    struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    if (n == NULL || !node_is_linked(n) || n == tree->nodes.root)
        return;
    n->n_references++; /* so that it exists until node_forget() */
    node_unlink(&tree->nodes, n);
    node_forget(&tree->nodes, n, 1);
}

int tree_chmod(struct tree *tree, uint64_t id, mode_t mode)
{
    struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    if (n == NULL)
        return -ESTALE;
    n->mode = mode & 07777;
    n->changed = clock_wall();
    node_mark(&tree->nodes, n);
    return 0;
}

int tree_chown(struct tree *tree, uint64_t id, uid_t uid, gid_t gid)
{
    struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    if (n == NULL)
        return -ESTALE;
    node_set_owner(n, uid, gid);
    n->changed = clock_wall();
    node_mark(&tree->nodes, n);
    return 0;
}

struct tree_usage tree_usage(struct tree *tree)
{
    NODE_TABLE_GUARD(&tree->nodes);
    return (struct tree_usage){.n_nodes = tree->nodes.n_nodes,
                               .held_bytes = tree->nodes.held.bytes,
                               .n_dropped = tree->nodes.held.n_dropped,
                               .content_bytes = tree->nodes.content_bytes};
}

size_t tree_held_files(struct tree *tree, uint64_t id)
{
    const struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    return held_count(&tree->nodes.held, id) +
           (n != NULL && n->kind == NODE_DIRECTORY ? n->directory.n_left_out : 0);
}

uint64_t tree_dropped(struct tree *tree, uint64_t id)
{
    const struct node *n;

    NODE_TABLE_GUARD(&tree->nodes);
    n = node_by_id(&tree->nodes, id);
    return n != NULL && n->kind == NODE_DIRECTORY ? n->directory.n_dropped : 0;
}
