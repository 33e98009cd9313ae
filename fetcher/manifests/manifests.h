/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/name_list.h"
#include "fetcher/source.h"

#define MANIFESTS_MAX_FILES 10000 /* files of other names do not count */

/*
 * A source that reads Secrets and ConfigMaps from the *.yaml, *.yml and *.json files of a
 * directory, and reads them again when they change: see manifests.c.
 * @dir:               relative paths count from the working directory
 * @default_namespace: for manifests that name none
 * Return: 0, *ret_source is the caller's; -errno with @e when the directory cannot be read or
 * watched; -ENOMEM. Invalid manifests are no error: they are reported for the objects concerned.
 */
int manifest_source_new(sd_event *event, struct store *store, const char *dir,
                        const char *default_namespace, struct source **ret_source, struct error *e);

/*
 * Call @offer for the name of each object in the manifests.
 * @source: of manifest_source_new()
 */
void manifest_source_names(const struct source *source, enum object_kind kind,
                           const char *namespace, name_fn *offer, void *userdata);
