/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/stage.h"

#include "fuse/node.h"

void stage_deinit(struct stage *stage)
{
    free(stage->payload_name);
    payload_unref(stage->payload);
    *stage = (struct stage){0};
}

int stage_set_payload(struct stage *stage, const char *name, struct payload *payload, bool is_live)
{
    char *copy = NULL;

    assert(payload == NULL || stage->payload == NULL); /* one at a time */
    if (payload != NULL) {
        copy = strdup(name);
        if (copy == NULL)
            return -ENOMEM;
        payload_ref(payload);
    }
    free(stage->payload_name);
    payload_unref(stage->payload);
    stage->payload_name = copy;
    stage->payload = payload;
    stage->is_live = is_live;
    return 0;
}

void stage_set_node(struct stage *stage, const struct staged_node *node)
{
    static const struct staged_node none;

    stage->node = node != NULL ? *node : none;
}

struct stage *stage_take(struct stage *stages, pid_t thread)
{
    struct stage *free_one = NULL;

    for (size_t i = 0; i < STAGES_MAX; i++) {
        if (stages[i].thread == thread)
            return &stages[i];
        if (stages[i].thread == 0 && free_one == NULL)
            free_one = &stages[i];
    }
    assert(free_one != NULL);
    free_one->thread = thread;
    return free_one;
}

void stage_release(struct stage *stage)
{
    const struct staged_node *n = &stage->node;

    if (stage->payload == NULL && n->file == NULL && n->copy_of == 0 && n->again == 0)
        stage->thread = 0;
}

const struct stage *stage_peek(const struct stage *stages, pid_t thread)
{
    static const struct stage none;

    for (size_t i = 0; i < STAGES_MAX; i++)
        if (stages[i].thread == thread)
            return &stages[i];
    return &none;
}

static int add_payload(const struct stage *stage, struct node_table *t, struct node *directory)
{
    const struct payload *payload = stage->payload;

    for (size_t i = 0; i < payload->n_files; i++) {
        struct node *n = node_add_file(t, directory, payload->files[i].path, &payload->files[i]);

        if (n == NULL || (stage->is_live && node_make_live(n) < 0))
            return -ENOMEM;
    }
    return 0;
}

static int add_directory(const struct stage *stage, struct node_table *t, struct node *parent,
                         const char *name, mode_t mode, struct node **ret_node)
{
    struct node *n = node_add(t, parent, name, NODE_DIRECTORY, mode);
    int r = 0;

    if (n == NULL)
        return -ENOMEM;
    if (stage->payload_name != NULL && streq(name, stage->payload_name))
        r = add_payload(stage, t, n);
    if (r == 0 && stage->payload_name != NULL)
        node_limit_held(t, parent);
    if (r < 0) {
        node_unlink_children(t, n);
        node_unlink(t, n);
        return r;
    }
    *ret_node = n;
    return 0;
}

static int add_copy(const struct stage *stage, struct node_table *t, struct node *parent,
                    const char *name, enum node_kind kind, struct node **ret_node)
{
    const struct node *original = node_by_id(t, stage->node.copy_of);

    /* nor a directory into itself: its copy would have to contain the copy */
    if (original == NULL || original->kind != kind || node_is_below(parent, original))
        return -ESTALE;
    *ret_node = node_add_copy(t, parent, name, original);
    return *ret_node != NULL ? 0 : -ENOMEM;
}

static int add_live_file(const struct stage *stage, struct node_table *t, struct node *directory,
                         const char *name, struct node **ret_node)
{
    struct node *n = node_add_file(t, directory, name, stage->node.file);

    if (n == NULL)
        return -ENOMEM;
    if (node_make_live(n) < 0) {
        node_unlink(t, n);
        return -ENOMEM;
    }
    n->file.volume = stage->node.volume;
    n->file.live->presence = stage->node.is_committed ? LIVE_SHOWN : LIVE_NEW;
    n->file.live->is_switching = !stage->node.is_committed;
    *ret_node = n;
    return 0;
}

static int link_again(const struct stage *stage, struct node_table *t, struct node *directory,
                      const char *name, struct node **ret_node)
{
    struct node *n = node_by_id(t, stage->node.again);

    if (n == NULL || n->kind != NODE_FILE || node_is_linked(n))
        return -ESTALE;
    *ret_node = n;
    return node_link(t, directory, name, n);
}

int stage_make_directory(const struct stage *stage, struct node_table *t, struct node *parent,
                         const char *name, mode_t mode, struct node **ret_node)
{
    return stage->node.copy_of != 0 ? add_copy(stage, t, parent, name, NODE_DIRECTORY, ret_node)
                                    : add_directory(stage, t, parent, name, mode, ret_node);
}

int stage_make_file(const struct stage *stage, struct node_table *t, struct node *parent,
                    const char *name, struct node **ret_node)
{
    if (stage->node.file != NULL)
        return add_live_file(stage, t, parent, name, ret_node);
    if (stage->node.copy_of != 0)
        return add_copy(stage, t, parent, name, NODE_FILE, ret_node);
    if (stage->node.again != 0)
        return link_again(stage, t, parent, name, ret_node);
    return -EROFS;
}
