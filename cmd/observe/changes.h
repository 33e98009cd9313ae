/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * When an object changed at its source, as this program learns it from a watch of its own: so
 * volumes of the kubelet and of secretfs are compared by the same clock.
 *
 * Thread: the event loop's.
 */
#include <systemd/sd-event.h>

#include "cmd/shared/source_options.h"

#define CHANGES_VERSION_SIZE 64u

/* Borrowed for the call. @version: NULL: the object was deleted */
typedef void changes_fn(void *userdata, const struct object_key *key, const char *version);

struct changes;

/*
 * Parse "secret/NAME" or "configmap/NAME".
 * Return: 0, kind and name of *ret_key are set, the latter borrowed from @text; -EINVAL with @e.
 */
int changes_parse(const char *text, struct object_key *ret_key, struct error *e);

/*
 * Watch an object.
 * @object: as changes_parse() takes it
 * @report: called for each version but the first
 * Return: 0, *ret_changes is the caller's; -errno with @e.
 */
int changes_new(sd_event *event, const char *object, const struct source_options *from,
                changes_fn *report, void *userdata, struct changes **ret_changes, struct error *e);
struct changes *changes_free(struct changes *changes);
DEFINE_CLEANUP(struct changes *, changes_free)

/* Whether it is the object that is watched. */
bool changes_is_of(const struct changes *changes, const char *kind, const char *namespace,
                   const char *name);

/*
 * When a version arrived.
 * @version: NULL: the newest one
 * @ret_version: its resourceVersion, borrowed until the next change
 * Return: whether that is known: it is of no version that was there at the start.
 */
bool changes_find(const struct changes *changes, const char *version, mono_us *ret_at,
                  const char **ret_version);
