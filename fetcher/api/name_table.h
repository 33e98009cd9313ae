/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The names of the objects of a namespace, from a list as a Table without objects: no value and no
 * annotation of a Secret is in the response. An annotation may have a copy of the values, as
 * `kubectl apply` writes one.
 *
 * Source: kubernetes.io/docs/reference/using-api/api-concepts, "Receiving resources as Tables".
 */
#include "base/buf.h"
#include "base/name_list.h"
#include "cache/object.h"

/* Names beyond are not requested. A row has a hundred bytes. */
#define NAME_TABLE_LIMIT     500
#define NAME_TABLE_MAX_BYTES (1u << 20)

/* @kind: OBJECT_SECRET or OBJECT_CONFIGMAP. Return: as buf_add(). */
int name_table_add_path(struct buf *path, enum object_kind kind, const char *namespace);

/*
 * Call @offer for each name in a response.
 * @ret_is_part: whether the namespace has more objects than were requested
 * Return: 0; -EINVAL: it is no Table, and nothing was offered; -E2BIG, -ENOMEM of json_parse().
 */
int name_table_parse(const char *text, size_t len, name_fn *offer, void *userdata,
                     bool *ret_is_part);
