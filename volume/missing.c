/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/missing.h"

/* Return: whether there is an object, in which keys can be looked up. */
static bool is_present(const struct store_view *view)
{
    return view->presence == STORE_PRESENT && view->object != NULL;
}

static bool missing_object(const struct store_view *view, struct missing *ret_missing)
{
    if (view->presence == STORE_ABSENT)
        *ret_missing = (struct missing){.key = view->key};
    return view->presence == STORE_ABSENT;
}

static void set_missing_key(const struct store_view *view, const char *data_key,
                            struct missing *ret_missing)
{
    *ret_missing = (struct missing){.key = view->key, .object = view->object, .data_key = data_key};
}

bool missing_of_volume_source(const struct volume_source *source, const struct store_view *view,
                              struct missing *ret_missing)
{
    if (source->is_optional || (source->kind != OBJECT_SECRET && source->kind != OBJECT_CONFIGMAP))
        return false;
    if (!is_present(view))
        return missing_object(view, ret_missing);
    for (size_t i = 0; i < source->n_items; i++) {
        if (object_find(view->object, source->items[i].key) != NULL)
            continue;
        set_missing_key(view, source->items[i].key, ret_missing);
        return true;
    }
    return false;
}

/* Binary values are for files (M4). */
static bool has_text(const struct object *object, const char *data_key)
{
    const struct object_entry *entry = object_find(object, data_key);

    return entry != NULL && !entry->is_binary;
}

bool missing_of_env_source(const struct env_source *source, const struct store_view *view,
                           struct missing *ret_missing)
{
    if (source->is_optional)
        return false;
    if (!is_present(view))
        return missing_object(view, ret_missing);
    if (source->kind != ENV_KEY || has_text(view->object, source->key))
        return false;
    set_missing_key(view, source->key, ret_missing);
    return true;
}
