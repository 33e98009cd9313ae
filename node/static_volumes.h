/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The static volumes that the files of a directory define, and their changes.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "node/static_volume.h"

/* Each costs a mount and at least one watch; more are a mistake in what writes the files. */
#define STATIC_VOLUMES_MAX 1024u

struct static_volumes;

/*
 * A volume exists from added() until removed(), or until changed() replaces it; a receiver that
 * needs it longer takes a reference. The targets of existing volumes do not overlap. None of these
 * may call into the object.
 */
struct static_volumes_callbacks {
    void (*added)(void *userdata, struct static_volume *volume);
    /* The target is the same; anything else may differ. */
    void (*changed)(void *userdata, const struct static_volume *old, struct static_volume *volume);
    void (*removed)(void *userdata, const struct static_volume *volume);
    /*
     * A file or the directory cannot be used; the last valid volumes stay. Each reason is reported
     * once.
     * @file:   its name, or the directory's path
     * @reason: NULL: recovered
     */
    void (*failed)(void *userdata, const char *file, const char *reason);
};

/*
 * @path: absolute; may be missing, which means no volumes
 * Return: 0, *ret_volumes is the caller's, empty before the first refresh; -errno with @e.
 */
int static_volumes_new(sd_event *event, const char *path,
                       const struct static_volumes_callbacks *callbacks, void *userdata,
                       struct static_volumes **ret_volumes, struct error *e);
/* Calls no callback. Return: NULL. */
struct static_volumes *static_volumes_free(struct static_volumes *volumes);
DEFINE_CLEANUP(struct static_volumes *, static_volumes_free)

/* Scan the directory now. After the first call, changes of the directory start scans. */
void static_volumes_refresh(struct static_volumes *volumes);
