/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What a volume or an environment waits for: an object that does not exist, or a key that an
 * existing one lacks, and that is not optional.
 *
 * Thread: the event loop's.
 */
#include "cache/store.h"
#include "volume/env_spec.h"
#include "volume/spec.h"

struct missing {
    const struct object_key *key; /* of the object; the store's */
    const struct object *object;  /* which exists, and lacks a key; NULL: it does not exist */
    const char *data_key;         /* that it lacks; the spec's; NULL without an object */
};

/*
 * Of one source and what the store has for it. Secrets and ConfigMaps only.
 * Return: whether it lacks something; then *ret_missing is set, borrowed until the next change.
 */
bool missing_of_volume_source(const struct volume_source *source, const struct store_view *view,
                              struct missing *ret_missing);
bool missing_of_env_source(const struct env_source *source, const struct store_view *view,
                           struct missing *ret_missing);
