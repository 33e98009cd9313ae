/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The objects with which a streamed list (WatchList) begins, until a bookmark says that these are
 * all.
 *
 * Thread: the event loop's.
 */
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct initial_list {
    cJSON *items; /* an array; NULL: none yet */
    size_t bytes; /* of the events that they came with */
};

/* Whether a BOOKMARK's object says that all objects have come. */
bool initial_list_is_end(const cJSON *bookmark);

/*
 * Move an ADDED event's object, which the list then has, out of the event.
 * @len: of the event, in bytes
 * @max_bytes: of all events together
 * Return: 0; -EFBIG: there are more bytes; -ENOMEM.
 */
int initial_list_add(struct initial_list *list, cJSON *event, size_t len, size_t max_bytes);

/*
 * What a list request would have returned: the items, with the bookmark's metadata, which is moved
 * out of its event. The initial list is empty afterwards.
 * Return: 0, *ret_list is the caller's; -ENOMEM.
 */
int initial_list_take(struct initial_list *list, cJSON *event, cJSON **ret_list);

void initial_list_deinit(struct initial_list *list);
