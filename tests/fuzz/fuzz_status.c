/* SPDX-License-Identifier: Apache-2.0 */
/* The status document of another process, which any user who mounts can be: it makes a table, or
 * there is a reason. */
#include <stdlib.h>

#include "base/buf.h"
#include "cmd/status/request.h"
#include "cmd/status/table.h"

#define TABLE_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(const cJSON *list, bool is_wide)
{
    struct status_table table = {.is_wide = is_wide};
    struct buf text = BUF_INIT(TABLE_MAX);
    const cJSON *items = cJSON_GetObjectItemCaseSensitive(list, "items"), *item;
    int r = status_table_print(&table, items, (struct timespec){.tv_sec = 1}, &text);

    assert(r == 0 || r == -EFBIG || r == -ENOMEM);
    cJSON_ArrayForEach (item, items)
        assert(status_table_same(&table, item, item));
    buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *document = malloc(size + 1);
    cJSON *list = cJSON_CreateObject();
    struct error e = ERROR_INIT;
    int r = -ENOMEM;

    if (document != NULL && list != NULL && cJSON_AddArrayToObject(list, "processes") != NULL &&
        cJSON_AddArrayToObject(list, "items") != NULL) {
        memcpy(document, data, size);
        document[size] = '\0';
        r = status_parse(document, list, &e);
        assert(r == 0 || e.text[0] != '\0');
    }
    if (r == 0) {
        print(list, false);
        print(list, true);
    }
    cJSON_Delete(list);
    free(document);
    return 0;
}
