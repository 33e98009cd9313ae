/* SPDX-License-Identifier: Apache-2.0 */
/* A list of names from an API server that may be anything: names are valid ones, and few are shown.
 */
#include "fetcher/api/name_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(void *userdata, const char *name)
{
    assert(object_name_is_valid(name));
    name_list_offer(userdata, name);
}

static void check_list(const struct name_list *list)
{
    struct error text;

    assert(list->n_shown <= NAME_LIST_SHOWN_MAX && list->n_shown <= list->n);
    for (size_t i = 1; i < list->n_shown; i++)
        assert(list->shown[i - 1].distance <= list->shown[i].distance);
    name_list_print(list, &text);
    assert(text.text[0] != '\0' && strlen(text.text) < ERROR_TEXT_MAX - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct name_list list = NAME_LIST_INIT("web-tls");
    int r = name_table_parse((const char *)data, size, check_name, &list, &list.is_part);

    assert(r == 0 || list.n == 0);
    check_list(&list);
    return 0;
}
