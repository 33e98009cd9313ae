/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/initial_list.h"

#include <errno.h>

#include "base/cleanup.h"
#include "encoding/json.h"

#define END_ANNOTATION "k8s.io/initial-events-end"

bool initial_list_is_end(const cJSON *bookmark)
{
    const char *text =
        json_text(json_path(bookmark, "metadata", "annotations", NULL), END_ANNOTATION);

    return text != NULL && streq(text, "true");
}

/* Move a member of @event to the end of the array @to. */
static int move_member(cJSON *event, const char *name, cJSON *to)
{
    cJSON *member = cJSON_DetachItemFromObjectCaseSensitive(event, name);

    if (cJSON_AddItemToArray(to, member))
        return 0;
    cJSON_Delete(member);
    return -ENOMEM;
}

int initial_list_add(struct initial_list *list, cJSON *event, size_t len, size_t max_bytes)
{
    if (len > max_bytes - list->bytes)
        return -EFBIG;
    list->bytes += len;
    if (list->items == NULL)
        list->items = cJSON_CreateArray();
    return move_member(event, "object", list->items);
}

int initial_list_take(struct initial_list *list, cJSON *event, cJSON **ret_list)
{
    _cleanup_(cJSON_Deletep) cJSON *made = cJSON_CreateObject();
    cJSON *items = list->items != NULL ? TAKE(list->items) : cJSON_CreateArray();
    cJSON *metadata = cJSON_DetachItemFromObjectCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(event, "object"), "metadata");

    list->bytes = 0;
    if (!cJSON_AddItemToObject(made, "items", items)) {
        cJSON_Delete(items);
        cJSON_Delete(metadata);
        return -ENOMEM;
    }
    if (!cJSON_AddItemToObject(made, "metadata", metadata)) {
        cJSON_Delete(metadata);
        return -ENOMEM;
    }
    *ret_list = TAKE(made);
    return 0;
}

void initial_list_deinit(struct initial_list *list)
{
    cJSON_Delete(list->items);
    *list = (struct initial_list){0};
}
