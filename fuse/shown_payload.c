/* SPDX-License-Identifier: Apache-2.0 */
#include "fuse/shown_payload.h"

#include <stdio.h>

#include "fuse/live_file.h"
#include "fuse/names.h"

struct collection {
    struct tree *tree;
    struct payload_builder *builder;
    struct error *e;
};

static int collect_file(void *userdata, const char *path, const struct name *name)
{
    struct collection *c = userdata;
    _cleanup_(object_unrefp) struct object *object = NULL;
    struct file_content content = {0};
    struct object_entry entry;
    struct stat status;
    int r;

    if (name->is_directory || !live_file_is_shown(c->tree, name->id))
        return 0;
    r = tree_stat(c->tree, name->id, &status);
    if (r == 0)
        r = tree_read(c->tree, name->id, &content);
    if (r < 0)
        return error_set_errno(c->e, r, "cannot read %s of the stored tree", path);
    object = content.object;
    entry = (struct object_entry){.key = "", .bytes = content.bytes, .len = content.len};
    return payload_builder_add(c->builder, path, object, &entry,
                               &(struct payload_attributes){.mode = status.st_mode & 07777,
                                                            .uid = status.st_uid,
                                                            .gid = status.st_gid},
                               c->e);
}

int shown_payload_read(struct tree *tree, uint64_t dir_id, struct payload **ret_payload,
                       char ret_generation[static GENERATION_NAME_SIZE], struct error *e)
{
    _cleanup_(payload_builder_freep) struct payload_builder *builder = NULL;
    _cleanup_(freep) char *name = NULL;
    struct collection collection = {.tree = tree, .e = e};
    uint64_t id;
    int r = writer_find_current(tree, dir_id, &name, &id);

    if (r == 0)
        r = payload_builder_new(&builder);
    if (r < 0)
        return error_set_errno(e, r, "cannot find the current generation of the stored tree");
    collection.builder = builder;
    r = names_walk(tree, id, "", collect_file, &collection);
    if (r == 0)
        r = payload_builder_finish(builder, ret_payload, e);
    if (r == 0)
        snprintf(ret_generation, GENERATION_NAME_SIZE, "%s", name);
    return r;
}

uint64_t shown_update(struct tree *tree, uint64_t dir_id)
{
    struct stat status;

    return tree_find(tree, dir_id, "..data", &status) == 0 ? status.st_ino : 0;
}
