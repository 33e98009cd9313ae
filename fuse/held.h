/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Held content: what readers keep in memory although its volume shows newer content, and the limits
 * of it. Files of removed generations that are open or mapped, and open files of older versions of
 * live files. See held.c.
 *
 * Thread: any that holds the tree's lock.
 */
#include "base/list.h"
#include "cache/object.h"

/*
 * Of one volume and of all of a tree. An update brings at most 1 MiB of one object (L3), so a
 * reader may be some updates late. Each file costs HELD_COST besides its object, so that many of
 * one object are limited, too.
 */
#define HELD_VOLUME_BYTES_MAX (16u << 20)
#define HELD_BYTES_MAX        (128u << 20)
#define HELD_COST             512u

struct held_item;

/* The item is charged no more: it has to drop its content, and its readers get ESTALE. */
typedef void held_drop_fn(void *userdata, struct held_item *item);

/* One file, or one open file. Embedded; zero to begin with. */
struct held_item {
    struct held_object *object; /* NULL: it is not charged */
    held_drop_fn *drop;
    struct list link;
};

/* Embedded. Members are held.c's alone; others read the numbers. */
struct held {
    struct list items; /* the oldest first */
    void *by_id;       /* tsearch(3) tree of volumes that are charged */
    void *userdata;    /* of held_drop_fn */
    size_t bytes;
    uint64_t n_dropped; /* items that lost their content to a limit */
};

void held_init(struct held *held, void *userdata);
/* Discharge what is left: open files that the kernel has not released. */
void held_deinit(struct held *held);

/*
 * Charge a volume for an item, until held_remove(). Without memory for that it is not charged.
 * @volume: node id of its directory
 * @object: with a reference that the item has until then
 */
void held_add(struct held *held, struct held_item *item, uint64_t volume,
              const struct object *object, held_drop_fn *drop);
/* One that is not charged is fine. */
void held_remove(struct held *held, struct held_item *item);

/* Return: how many items a volume is charged for. */
size_t held_count(const struct held *held, uint64_t volume);

/* Return: the volume that is charged for an item; 0: none is. */
uint64_t held_volume(const struct held_item *item);

/*
 * Drop the items that were added first until the volume, and all of them, are within the limits.
 * Return: how many items of the volume were dropped.
 */
size_t held_limit(struct held *held, uint64_t volume);
