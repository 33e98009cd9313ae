/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The volumes that the files of a directory say, and word of how they change.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "node/static_volume.h"

/* Each costs a mount and at least one watch; who has more of them than this has made a mistake. */
#define STATIC_VOLUMES_MAX 1024u

struct static_volumes;

/*
 * What is told of a volume. It is there from added() until removed() or until changed() with
 * another one in its place; who needs it longer takes a reference. No two that are there have one
 * target, or one in the other's. None of these may call back.
 */
struct static_volumes_callbacks {
    void (*added)(void *userdata, struct static_volume *volume);
    /* The target is the same; anything else may differ. */
    void (*changed)(void *userdata, const struct static_volume *old, struct static_volume *volume);
    void (*removed)(void *userdata, const struct static_volume *volume);
    /*
     * Something is no good and changes nothing: what was there before stays. Each reason is told
     * once.
     * @file:   its name, or the directory's path
     * @reason: NULL: it is good again
     */
    void (*failed)(void *userdata, const char *file, const char *reason);
};

/*
 * @path: absolute; it need not exist, then there are no volumes
 * Return: 0, *ret_volumes is the caller's, with nothing in it before the first refresh; -errno with
 * @e.
 */
int static_volumes_new(sd_event *event, const char *path,
                       const struct static_volumes_callbacks *callbacks, void *userdata,
                       struct static_volumes **ret_volumes, struct error *e);
/* Without a word about what goes. */
struct static_volumes *static_volumes_free(struct static_volumes *volumes);
DEFINE_CLEANUP(struct static_volumes *, static_volumes_free)

/*
 * Look at the directory now and tell what there is to tell. After the first time this happens by
 * itself whenever something changes.
 */
void static_volumes_refresh(struct static_volumes *volumes);

/* How many there are. */
size_t static_volumes_count(const struct static_volumes *volumes);
