/* SPDX-License-Identifier: Apache-2.0 */
#include "node/volumes.h"

#include <search.h>

struct node_volumes {
    struct list all;
    size_t n;
    uint64_t n_added;
    void *by_id;         /* tsearch(3) tree */
    struct list dropped; /* not freed yet */
    sd_event_source *sweeper;
};

/* tsearch(3)'s order. */
static int compare_ids(const void *a, const void *b)
{
    const struct node_volume *x = a, *y = b;

    return strcmp(x->id, y->id);
}

static int on_sweep(sd_event_source *source, void *userdata)
{
    node_volumes_sweep(userdata);
    return 0;
}

int node_volumes_new(sd_event *event, struct node_volumes **ret_volumes)
{
    _cleanup_(node_volumes_freep) struct node_volumes *all = calloc(1, sizeof(*all));
    int r;

    if (all == NULL)
        return -ENOMEM;
    list_init(&all->all);
    list_init(&all->dropped);
    r = sd_event_add_defer(event, &all->sweeper, on_sweep, all);
    if (r >= 0)
        r = sd_event_source_set_enabled(all->sweeper, SD_EVENT_OFF);
    if (r < 0)
        return r;
    *ret_volumes = TAKE(all);
    return 0;
}

struct node_volumes *node_volumes_free(struct node_volumes *volumes)
{
    struct node_volume *v, *tmp;

    if (volumes == NULL)
        return NULL;
    node_volumes_sweep(volumes);
    list_for_each_safe (v, tmp, &volumes->all, link)
        node_volumes_remove(volumes, v);
    assert(volumes->n == 0 && volumes->by_id == NULL);
    sd_event_source_disable_unref(volumes->sweeper);
    free(volumes);
    return NULL;
}

int node_volumes_add(struct node_volumes *volumes, struct node_volume *volume_consumed)
{
    assert(node_volumes_find(volumes, volume_consumed->id) == NULL);
    if (tsearch(volume_consumed, &volumes->by_id, compare_ids) == NULL) {
        volume_consumed->ops->free(volume_consumed);
        return -ENOMEM;
    }
    assert(list_is_empty(&volume_consumed->link));
    volume_consumed->number = ++volumes->n_added;
    list_append(&volumes->all, &volume_consumed->link);
    volumes->n++;
    return 0;
}

struct node_volume *node_volumes_find(const struct node_volumes *volumes, const char *id)
{
    char *mutable_id = strdupa(id);
    const struct node_volume like = {.id = mutable_id};
    struct node_volume *const *found = tfind(&like, &volumes->by_id, compare_ids);

    return found != NULL ? *found : NULL;
}

static void remove_from_index(struct node_volumes *volumes, struct node_volume *volume)
{
    assert(node_volumes_find(volumes, volume->id) == volume);
    assert(volumes->n > 0);
    tdelete(volume, &volumes->by_id, compare_ids);
    list_remove(&volume->link);
    volumes->n--;
}

void node_volumes_remove(struct node_volumes *volumes, struct node_volume *volume)
{
    remove_from_index(volumes, volume);
    volume->ops->free(volume);
}

void node_volumes_drop(struct node_volumes *volumes, struct node_volume *volume)
{
    remove_from_index(volumes, volume);
    list_append(&volumes->dropped, &volume->link);
    sd_event_source_set_enabled(volumes->sweeper, SD_EVENT_ONESHOT);
}

void node_volumes_sweep(struct node_volumes *volumes)
{
    struct node_volume *v, *tmp;

    list_for_each_safe (v, tmp, &volumes->dropped, link)
        v->ops->free(v);
}

size_t node_volumes_count(const struct node_volumes *volumes)
{
    return volumes->n;
}

void node_volumes_visit(struct node_volumes *volumes, node_volume_visit_fn *visit, void *userdata)
{
    struct node_volume *v, *tmp;

    list_for_each_safe (v, tmp, &volumes->all, link)
        if (!visit(userdata, v))
            return;
}
