/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* One Secret or ConfigMap, by its name: what the node authorizer allows (K3). */
#include "fetcher/api/content.h"

/* @store, @key: borrowed, outlive the content. Return: 0, *ret_content is the caller's; -ENOMEM. */
int object_content_new(struct store *store, const struct object_key *key,
                       struct content **ret_content);
