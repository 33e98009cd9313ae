/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/tree.h"

#include "fuse/live_switch.h"
#include "fuse/node.h"

#define COOKIE_DOT     1u
#define COOKIE_DOT_DOT 2u

/* ---- the tree itself */

int tree_new(const struct tree_options *options, struct tree **ret_tree)
{
    struct tree *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ENOMEM;
    pthread_mutex_init(&t->lock, NULL);
    list_init(&t->unlinked);
    t->answers_open = options->answers_open;
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

struct tree *tree_free(struct tree *tree)
{
    if (tree == NULL)
        return NULL;
    while (tree->by_name != NULL)
        node_unlink_children(tree, (*(struct node **)tree->by_name)->parent);
    node_free_all(tree);
    free(tree->staged_name);
    payload_unref(tree->staged_payload);
    pthread_mutex_destroy(&tree->lock);
    free(tree);
    return NULL;
}

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
    if (node != NULL)
        node_forget(tree, node, n);
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

int tree_read(struct tree *tree, uint64_t id, struct tree_content *ret_content)
{
    struct node *n;
    int r;

    TREE_LOCK(tree);
    r = node_find_file(tree, id, &n);
    if (r < 0)
        return r;
    *ret_content = n->file.content;
    object_ref(ret_content->object);
    return 0;
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

int tree_find_unlinked(struct tree *tree, const char *path, struct stat *ret_stat)
{
    const struct node *n;

    TREE_LOCK(tree);
    list_for_each (n, &tree->unlinked, link)
        if (n->name != NULL && streq(n->name, path)) {
            node_stat(n, ret_stat);
            return 0;
        }
    return -ENOENT;
}

int tree_stage(struct tree *tree, const char *name, struct payload *payload, bool is_live)
{
    char *copy = NULL;

    TREE_LOCK(tree);
    if (payload != NULL) {
        copy = strdup(name);
        if (copy == NULL)
            return -ENOMEM;
        payload_ref(payload);
    }
    free(tree->staged_name);
    payload_unref(tree->staged_payload);
    tree->staged_name = copy;
    tree->staged_payload = payload;
    tree->is_staged_live = is_live;
    return 0;
}

void tree_stage_node(struct tree *tree, const struct tree_staged_node *staged)
{
    static const struct tree_staged_node nothing;

    TREE_LOCK(tree);
    tree->staged_node = staged != NULL ? *staged : nothing;
}

static int add_payload(struct tree *t, struct node *directory)
{
    const struct payload *payload = t->staged_payload;

    for (size_t i = 0; i < payload->n_files; i++) {
        struct node *n = node_add_file(t, directory, payload->files[i].path, &payload->files[i]);

        if (n == NULL || (t->is_staged_live && node_make_live(n) < 0))
            return -ENOMEM;
    }
    return 0;
}

static int add_directory(struct tree *t, struct node *parent, const char *name, mode_t mode,
                         struct node **ret_node)
{
    struct node *n = node_add(t, parent, name, NODE_DIRECTORY, mode);
    int r = 0;

    if (n == NULL)
        return -ENOMEM;
    if (t->staged_name != NULL && streq(name, t->staged_name))
        r = add_payload(t, n);
    if (r < 0) {
        node_unlink_children(t, n);
        node_unlink(t, n);
        return r;
    }
    *ret_node = n;
    return 0;
}

static int add_copy(struct tree *t, struct node *parent, const char *name, enum node_kind kind,
                    struct node **ret_node)
{
    const struct node *original = node_by_id(t, t->staged_node.copy_of);

    if (original == NULL || original->kind != kind)
        return -ESTALE;
    *ret_node = node_add_copy(t, parent, name, original);
    return *ret_node != NULL ? 0 : -ENOMEM;
}

/* The kernel gets a reference with the reply. */
static void reply_with(struct node *n, struct stat *ret_stat)
{
    n->n_references++;
    node_stat(n, ret_stat);
}

int tree_mkdir(struct tree *tree, uint64_t parent, const char *name, mode_t mode,
               struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r == 0 && tree->staged_node.copy_of != 0)
        r = add_copy(tree, directory, name, NODE_DIRECTORY, &n);
    else if (r == 0)
        r = add_directory(tree, directory, name, mode, &n);
    if (r == 0)
        reply_with(n, ret_stat);
    return r;
}

static int add_live_file(struct tree *t, struct node *directory, const char *name,
                         struct node **ret_node)
{
    struct node *n = node_add_file(t, directory, name, t->staged_node.file);

    if (n == NULL)
        return -ENOMEM;
    if (node_make_live(n) < 0) {
        node_unlink(t, n);
        return -ENOMEM;
    }
    *ret_node = n;
    return 0;
}

static int link_again(struct tree *t, struct node *directory, const char *name,
                      struct node **ret_node)
{
    struct node *n = node_by_id(t, t->staged_node.again);

    if (n == NULL || n->kind != NODE_FILE || node_is_linked(n))
        return -ESTALE;
    *ret_node = n;
    return node_link(t, directory, name, n);
}

int tree_mknod(struct tree *tree, uint64_t parent, const char *name, struct stat *ret_stat)
{
    struct node *directory, *n;
    int r;

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r < 0)
        return r;
    if (tree->staged_node.file != NULL)
        r = add_live_file(tree, directory, name, &n);
    else if (tree->staged_node.copy_of != 0)
        r = add_copy(tree, directory, name, NODE_FILE, &n);
    else if (tree->staged_node.again != 0)
        r = link_again(tree, directory, name, &n);
    else
        r = -EROFS;
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

    TREE_LOCK(tree);
    r = find_room(tree, parent, name, &directory);
    if (r < 0)
        return r;
    copy = strdup(target);
    n = copy != NULL ? node_add(tree, directory, name, NODE_LINK, 0777) : NULL;
    if (n == NULL) {
        free(copy);
        return -ENOMEM;
    }
    n->target = copy;
    reply_with(n, ret_stat);
    return 0;
}

int tree_rename(struct tree *tree, uint64_t parent, const char *name, uint64_t new_parent,
                const char *new_name)
{
    struct node *n, *old;
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
    r = node_rename(tree, n, new_name, old);
    if (r == 0 && tree->armed != NULL && tree->armed_in == parent)
        live_switch_commit_locked(tree, TAKE(tree->armed));
    return r;
}

int tree_exchange(struct tree *tree, uint64_t parent_a, const char *name_a, uint64_t parent_b,
                  const char *name_b)
{
    struct node *a, *b;
    int r;

    TREE_LOCK(tree);
    r = find_child(tree, parent_a, name_a, &a);
    if (r == 0)
        r = find_child(tree, parent_b, name_b, &b);
    if (r < 0)
        return r;
    /* the kernel never asks to exchange a directory with one that is in it */
    if (a->kind != b->kind)
        return -EINVAL;
    node_exchange(tree, a, b);
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
    if (!list_is_empty(&n->directory.children))
        return -ENOTEMPTY;
    node_unlink(tree, n);
    return 0;
}

void tree_detach(struct tree *tree, uint64_t id)
{
    struct node *n;

    TREE_LOCK(tree);
    n = node_by_id(tree, id);
    if (n == NULL || !node_is_linked(n) || n == tree->root)
        return;
    n->n_references++; /* so that it is there to be looked at afterwards */
    node_unlink(tree, n);
    node_forget(tree, n, 1);
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
    node_set_owner(n, uid, gid);
    n->changed = clock_wall();
    return 0;
}

struct tree_usage tree_usage(struct tree *tree)
{
    TREE_LOCK(tree);
    return tree->usage;
}
