/* SPDX-License-Identifier: Apache-2.0 */
#include "fetcher/api/object_content.h"

#include "fetcher/api/protocol.h"
#include "fetcher/decode.h"

struct object_content {
    struct content content;
    struct object *held; /* what the store has from here; NULL: none */
};

static struct object_content *of(const struct content *content)
{
    return CONTAINER_OF((struct content *)(uintptr_t)content, struct object_content, content);
}

static int add_path(const struct content *content, struct buf *path)
{
    const struct object_key *key = content->key;
    int r = buf_add_text(path, "/api/v1/namespaces/");

    if (r >= 0)
        r = protocol_add_escaped(path, key->namespace);
    if (r >= 0)
        r = buf_addf(path, "/%s?fieldSelector=metadata.name%%3D", object_kind_plural(key->kind));
    return r >= 0 ? protocol_add_escaped(path, key->name) : r;
}

static bool is_own(const struct content *content, const cJSON *object)
{
    const struct object_key *key = content->key;
    const cJSON *metadata = json_member(object, "metadata");
    const char *namespace = json_text(metadata, "namespace"), *name = json_text(metadata, "name");

    return name != NULL && streq(name, key->name) &&
           (namespace == NULL || streq(namespace, key->namespace));
}

/* The list's item that was requested; there should be no others. Return: NULL: it is not there. */
static const cJSON *find_own(const struct content *content, const cJSON *items)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, items) {
        const char *kind = json_text(item, "kind");

        if ((kind == NULL || streq(kind, object_kind_name(content->key->kind))) &&
            is_own(content, item))
            return item;
    }
    return NULL;
}

static bool is_older(const struct content *content, const cJSON *items)
{
    const struct object *held = of(content)->held;
    const cJSON *item = find_own(content, items);

    return item != NULL && held != NULL &&
           protocol_is_older(protocol_resource_version(item), held->resource_version);
}

static int put(struct content *content, const cJSON *json, mono_us received_at, struct error *e)
{
    struct object_content *c = of(content);
    const struct decode_expect expect = {.kind = &content->key->kind,
                                         .default_namespace = content->key->namespace};
    _cleanup_(object_unrefp) struct object *object = NULL;
    int r = decode_object(json, &expect, &object, e);

    if (r < 0)
        return r;
    if (c->held != NULL && streq(c->held->uid, object->uid) &&
        streq(c->held->resource_version, object->resource_version))
        return 0; /* J13 */
    object_unref(c->held);
    c->held = object_ref(object);
    store_put(content->store, TAKE(object), received_at);
    return 0;
}

static int remove_object(struct content *content, const cJSON *json, mono_us received_at,
                         struct error *e)
{
    struct object_content *c = of(content);

    c->held = object_unref(c->held);
    store_remove(content->store, content->key, received_at);
    return 0;
}

static int replace(struct content *content, const cJSON *items, mono_us received_at,
                   struct error *e)
{
    const cJSON *item = find_own(content, items);

    return item != NULL ? put(content, item, received_at, e)
                        : remove_object(content, NULL, received_at, e);
}

static bool is_immutable(const struct content *content)
{
    const struct object *held = of(content)->held;

    return held != NULL && held->is_immutable;
}

static void free_content(struct content *content)
{
    object_unref(of(content)->held);
    free(of(content));
}

int object_content_new(struct store *store, const struct object_key *key,
                       struct content **ret_content)
{
    static const struct content_ops ops = {
        .allow = ": allow this identity to get, list and watch it (a node's own credentials are "
                 "allowed to when a pod on the node names it)",
        .add_path = add_path,
        .is_own = is_own,
        .is_older = is_older,
        .replace = replace,
        .put = put,
        .remove = remove_object,
        .is_immutable = is_immutable,
        .free = free_content,
    };
    struct object_content *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return -ENOMEM;
    c->content = (struct content){.ops = &ops, .store = store, .key = key};
    *ret_content = &c->content;
    return 0;
}
