/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/name_table.h"

#include "encoding/json.h"
#include "fetcher/api/protocol.h"

int name_table_add_path(struct buf *path, enum object_kind kind, const char *namespace)
{
    int r = buf_add_text(path, "/api/v1/namespaces/");

    if (r >= 0)
        r = protocol_add_escaped(path, namespace);
    return r < 0 ? r
                 : buf_addf(path, "/%s?includeObject=None&limit=%d", object_kind_plural(kind),
                            NAME_TABLE_LIMIT);
}

/* Return: the index of the column with names; -1: none. */
static int find_column(const cJSON *table)
{
    const cJSON *column;
    int i = 0;

    cJSON_ArrayForEach (column, json_member(table, "columnDefinitions")) {
        const char *format = json_text(column, "format");

        if (format != NULL && streq(format, "name"))
            return i;
        i++;
    }
    return -1;
}

/* A name that the API server would refuse is not shown to a terminal. */
static void offer_row(const cJSON *row, int column, name_fn *offer, void *userdata)
{
    const cJSON *cell = cJSON_GetArrayItem(json_member(row, "cells"), column);

    if (cJSON_IsString(cell) && object_name_is_valid(cell->valuestring))
        offer(userdata, cell->valuestring);
}

int name_table_parse(const char *text, size_t len, name_fn *offer, void *userdata,
                     bool *ret_is_part)
{
    _cleanup_(cJSON_Deletep) cJSON *table = NULL;
    const char *more;
    const cJSON *row;
    int column, r = json_parse(text, len, &table, NULL);

    if (r < 0)
        return r;
    column = find_column(table);
    if (column < 0)
        return -EINVAL;
    cJSON_ArrayForEach (row, json_member(table, "rows")) {
        offer_row(row, column, offer, userdata);
    }
    more = json_text(json_member(table, "metadata"), "continue");
    *ret_is_part = more != NULL && more[0] != '\0';
    return 0;
}
