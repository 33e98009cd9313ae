/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each four bytes are one operation on the tree: its kind, two nodes that the kernel holds, a name.
 * Nodes that were unlinked stay among them until the kernel forgets them. At the end nothing is
 * left but the root.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "fuse/stage.h"
#include "fuse/tree.h"

#define NODES_MAX 32
#define N_NAMES   6

#define TREE_NODES_MAX 2048

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct tree *tree;
    struct payload *payload;
    uint64_t held[NODES_MAX]; /* a reference of the kernel for each */
    size_t n_held;
    bool answers_open;
};

static const char *name_of(unsigned number)
{
    static const char *const names[N_NAMES] = {"a", "b", "d", "..data", "..data_tmp", "..1"};

    return names[number % N_NAMES];
}

static uint64_t node_of(const struct run *run, uint8_t byte)
{
    size_t i = byte % (run->n_held + 1);

    return i == 0 ? TREE_ROOT_ID : run->held[i - 1];
}

static void hold(struct run *run, int r, const struct stat *stat)
{
    assert(r <= 0);
    if (r < 0)
        return;
    if (run->n_held < NODES_MAX)
        run->held[run->n_held++] = stat->st_ino;
    else
        tree_forget(run->tree, stat->st_ino, 1);
}

static void forget(struct run *run, uint8_t byte)
{
    size_t i;

    if (run->n_held == 0)
        return;
    i = byte % run->n_held;
    tree_forget(run->tree, run->held[i], 1);
    run->held[i] = run->held[--run->n_held];
}

static bool visit(void *userdata, const char *name, const struct stat *stat, uint64_t cookie)
{
    unsigned *n = userdata;

    assert(name[0] != '\0' && stat->st_ino != 0 && cookie != 0);
    return ++*n < 8;
}

static void look(struct run *run, uint64_t id)
{
    struct file_content content;
    struct stat stat;
    char *target = NULL;
    unsigned n = 0;

    if (tree_read(run->tree, id, &content) == 0)
        object_unref(content.object);
    if (tree_readlink(run->tree, id, &target) == 0)
        free(target);
    tree_readdir(run->tree, id, 0, false, visit, &n);
    assert(tree_stat(run->tree, id, &stat) == 0 && stat.st_ino == id); /* it is held */
}

static void operate(struct run *run, const uint8_t op[static 4])
{
    uint64_t a = node_of(run, op[1]), b = node_of(run, op[2]);
    const char *name = name_of(op[3]), *other = name_of(op[3] / N_NAMES);
    struct staged_node staged = {0};
    struct tree *t = run->tree;
    struct stat stat = {0};

    if (tree_usage(t).n_nodes > TREE_NODES_MAX)
        return; /* copies of copies double it each time */
    switch (op[0] % 16) {
    case 0:
        hold(run, tree_mkdir(t, gettid(), a, name, 0755, &stat), &stat);
        break;
    case 1:
        if (tree_stage(t, name, run->payload, run->answers_open && op[2] % 2 == 0) < 0)
            break;
        hold(run, tree_mkdir(t, gettid(), a, name, 0755, &stat), &stat);
        tree_stage(t, name, NULL, false);
        break;
    case 2:
        hold(run, tree_symlink(t, a, name, other, &stat), &stat);
        break;
    case 3:
        if (!run->answers_open) /* only there files are live */
            break;
        staged.file = &run->payload->files[0];
        tree_stage_node(t, &staged);
        hold(run, tree_mknod(t, gettid(), a, name, &stat), &stat);
        tree_stage_node(t, NULL);
        break;
    case 4:
        staged.copy_of = b;
        tree_stage_node(t, &staged);
        hold(run,
             op[3] % 2 == 0 ? tree_mknod(t, gettid(), a, name, &stat)
                            : tree_mkdir(t, gettid(), a, name, 0700, &stat),
             &stat);
        tree_stage_node(t, NULL);
        break;
    case 5:
        staged.again = b;
        tree_stage_node(t, &staged);
        hold(run,
             op[3] % 2 == 0 ? tree_mknod(t, gettid(), a, name, &stat)
                            : tree_mkdir(t, gettid(), a, name, 0700, &stat),
             &stat);
        tree_stage_node(t, NULL);
        break;
    case 6:
        tree_rename(t, a, name, b, other);
        break;
    case 7:
        tree_exchange(t, a, name, b, other);
        break;
    case 8:
        tree_unlink(t, a, name);
        break;
    case 9:
        tree_rmdir(t, a, name);
        break;
    case 10:
        if (a != TREE_ROOT_ID)
            tree_detach(t, a);
        break;
    case 11:
        tree_chmod(t, a, op[3]);
        tree_chown(t, a, op[2], (gid_t)-1);
        break;
    case 12:
    case 13:
        hold(run, tree_lookup(t, a, name, &stat), &stat);
        break;
    case 14:
        forget(run, op[1]);
        break;
    case 15:
        look(run, a);
        break;
    }
}

static struct payload *make_payload(void)
{
    const struct object like = {
        .key = {.kind = OBJECT_SECRET, .namespace = "default", .name = "dummy"}};
    const struct object_input input = {.key = "k", .text = "dummy-1", .len = 7};
    const struct payload_attributes attributes = {
        .mode = 0640, .uid = 9, .gid = PAYLOAD_ID_INHERITED};
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct payload *payload = NULL;

    if (payload_builder_new(&builder) < 0 || object_new(&like, &input, 1, &object, NULL) < 0 ||
        payload_builder_add(builder, "a", object, &object->entries[0], &attributes, NULL) < 0 ||
        payload_builder_add(builder, "d/b", object, &object->entries[0], &attributes, NULL) < 0 ||
        payload_builder_finish(builder, &payload, NULL) < 0)
        abort();
    return payload;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct tree_options options = {.root_mode = 01777,
                                         .answers_open = size > 0 && data[0] % 2 == 0};
    struct run run = {.payload = make_payload(), .answers_open = options.answers_open};
    int r = tree_new(&options, &run.tree);

    if (r == 0 && run.payload != NULL) {
        for (size_t at = 1; at + 4 <= size; at += 4)
            operate(&run, data + at);
        while (run.n_held > 0)
            forget(&run, 0);
    }
    tree_free(run.tree);
    payload_unref(run.payload);
    return 0;
}
