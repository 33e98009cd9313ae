/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader that keeps one small file open keeps the whole object that its bytes are in
 * (cache/object.c), so objects are charged and not files: each once for a volume, however many
 * files of it are held, together with HELD_COST for each of these.
 *
 *     held.by_id -> volume -> by_object -> object <- item (a node's, or an open file's)
 *
 * A volume that is removed stays charged until its last reader is gone.
 */
#include "fuse/held.h"

#include <search.h>

struct held_volume {
    uint64_t id;
    size_t bytes;
    size_t n_items;
    void *by_object; /* tsearch(3) tree */
};

struct held_object {
    struct held_volume *volume;
    const struct object *object;
    size_t n_items;
};

static int compare_volumes(const void *a, const void *b)
{
    const struct held_volume *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int compare_objects(const void *a, const void *b)
{
    const struct held_object *x = a, *y = b;

    return (uintptr_t)x->object < (uintptr_t)y->object
               ? -1
               : (uintptr_t)x->object > (uintptr_t)y->object;
}

void held_init(struct held *held, void *userdata)
{
    *held = (struct held){.userdata = userdata};
    list_init(&held->items);
}

static struct held_volume *find_volume(const struct held *held, uint64_t id)
{
    const struct held_volume like = {.id = id};
    struct held_volume *const *found = tfind(&like, &held->by_id, compare_volumes);

    return found != NULL ? *found : NULL;
}

static struct held_volume *get_volume(struct held *held, uint64_t id)
{
    struct held_volume *v = find_volume(held, id);

    if (v != NULL)
        return v;
    v = calloc(1, sizeof(*v));
    if (v == NULL)
        return NULL;
    v->id = id;
    if (tsearch(v, &held->by_id, compare_volumes) != NULL)
        return v;
    free(v);
    return NULL;
}

static void free_volume_if_unused(struct held *held, struct held_volume *v)
{
    if (v->by_object != NULL)
        return;
    assert(v->bytes == 0);
    tdelete(v, &held->by_id, compare_volumes);
    free(v);
}

static void charge(struct held *held, struct held_volume *v, size_t bytes)
{
    held->bytes += bytes;
    v->bytes += bytes;
}

static void discharge(struct held *held, struct held_volume *v, size_t bytes)
{
    assert(v->bytes >= bytes && held->bytes >= bytes);
    held->bytes -= bytes;
    v->bytes -= bytes;
}

static struct held_object *get_object(struct held *held, struct held_volume *v,
                                      const struct object *object)
{
    const struct held_object like = {.object = object};
    struct held_object *const *found = tfind(&like, &v->by_object, compare_objects);
    struct held_object *o;

    if (found != NULL)
        return *found;
    o = calloc(1, sizeof(*o));
    if (o == NULL)
        return NULL;
    *o = (struct held_object){.volume = v, .object = object};
    if (tsearch(o, &v->by_object, compare_objects) == NULL) {
        free(o);
        return NULL;
    }
    charge(held, v, object_bytes(object));
    return o;
}

void held_add(struct held *held, struct held_item *item, uint64_t volume,
              const struct object *object, held_drop_fn *drop)
{
    struct held_volume *v = get_volume(held, volume);
    struct held_object *o = v != NULL ? get_object(held, v, object) : NULL;

    assert(item->object == NULL && object != NULL);
    if (o == NULL) {
        if (v != NULL)
            free_volume_if_unused(held, v);
        return;
    }
    o->n_items++;
    v->n_items++;
    charge(held, v, HELD_COST);
    item->object = o;
    item->drop = drop;
    list_append(&held->items, &item->link);
}

void held_remove(struct held *held, struct held_item *item)
{
    struct held_object *o = item->object;
    struct held_volume *v;

    if (o == NULL)
        return;
    v = o->volume;
    assert(v != NULL);
    item->object = NULL;
    list_remove(&item->link);
    discharge(held, v, HELD_COST);
    v->n_items--;
    if (--o->n_items > 0)
        return;
    discharge(held, v, object_bytes(o->object));
    tdelete(o, &v->by_object, compare_objects);
    free(o);
    free_volume_if_unused(held, v);
}

size_t held_count(const struct held *held, uint64_t volume)
{
    const struct held_volume *v = find_volume(held, volume);

    return v != NULL ? v->n_items : 0;
}

uint64_t held_volume(const struct held_item *item)
{
    return item->object != NULL ? item->object->volume->id : 0;
}

void held_deinit(struct held *held)
{
    while (!list_is_empty(&held->items))
        held_remove(held, list_entry(held->items.next, struct held_item, link));
    assert(held->bytes == 0 && held->by_id == NULL);
}

size_t held_limit(struct held *held, uint64_t volume)
{
    struct held_item *item, *tmp;
    size_t n = 0;

    list_for_each_safe (item, tmp, &held->items, link) {
        const struct held_volume *v = find_volume(held, volume);
        bool is_over = v != NULL && v->bytes > HELD_VOLUME_BYTES_MAX;

        if (!is_over && held->bytes <= HELD_BYTES_MAX)
            break;
        if (item->object->volume != v && held->bytes <= HELD_BYTES_MAX)
            continue;
        n += item->object->volume == v;
        held_remove(held, item);
        item->drop(held->userdata, item);
        held->n_dropped++;
    }
    return n;
}
