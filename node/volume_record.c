/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec is recorded, and not the kubelet's request: the spec may need the pod (publish_spec.c),
 * which cannot be read while the API server is away. A static volume is made of its file; its
 * record says whether the file is the same as for the earlier process. The target's mount is not
 * recorded either: the next process finds it at the target by its file system and its directory
 * (target_find_mount()).
 *
 *     "orders": [{"source": 0, "order": "paused"}, {"source": 2, "order": "undone", "content": 7}]
 *     "notified": 42
 *
 * `notified` is of a volume with `onUpdate`: which update its consumers know of. The one that
 * readers see is in the state by itself, as soon as they do. A program that does not know the
 * member notifies of no update that its predecessor has shown, as it never did, and leaves the
 * member as it is: a later one notifies once too often. So it needs no format of its own.
 */
#include "node/volume_record.h"

#include "volume/spec_json.h"
#include "volume/staging.h"

/* cJSON prints numbers with 15 digits. Nodes of a tree are numbered from 1 on. */
#define NUMBER_MAX UINT64_C(999999999999999)

static const char *const order_names[] = {
    [VOLUME_ORDER_PAUSED] = "paused",
    [VOLUME_ORDER_UNDONE] = "undone",
};

/* ---- orders */

static int add_order(cJSON *list, size_t i, const struct volume_kept_order *order)
{
    cJSON *json = cJSON_CreateObject();
    int r = json_add_number(json, "source", (double)i);

    r |= json_add_text(json, "order", order_names[order->order]);
    if (order->order == VOLUME_ORDER_UNDONE)
        r |= json_add_number(json, "content", (double)order->undone);
    if (cJSON_AddItemToArray(list, json))
        return r;
    cJSON_Delete(json);
    return -ENOMEM;
}

static int add_orders(cJSON *json, const struct volume_record *record)
{
    cJSON *list = NULL;
    int r = 0;

    for (size_t i = 0; record->orders != NULL && i < record->spec->n_sources && r == 0; i++) {
        if (record->orders[i].order == VOLUME_ORDER_NONE)
            continue;
        if (list == NULL)
            list = cJSON_AddArrayToObject(json, "orders");
        r = list != NULL ? add_order(list, i, &record->orders[i]) : -ENOMEM;
    }
    return r;
}

/* @max: 2^53 at most. Return: whether it is a whole number up to @max. */
static bool read_number(const cJSON *json, const char *key, uint64_t max, uint64_t *ret_number)
{
    const cJSON *number = json_member(json, key);

    if (!cJSON_IsNumber(number) || number->valuedouble < 0 || number->valuedouble > (double)max)
        return false;
    *ret_number = (uint64_t)number->valuedouble;
    return (double)*ret_number == number->valuedouble;
}

/* Return: whether it is valid. */
static bool read_order(const cJSON *json, size_t n_sources, struct volume_kept_order *orders)
{
    const char *name = json_text(json, "order");
    struct volume_kept_order order = {.order = VOLUME_ORDER_NONE};
    uint64_t i;

    for (size_t k = VOLUME_ORDER_PAUSED; name != NULL && k < ELEMENTS_OF(order_names); k++)
        if (streq(name, order_names[k]))
            order.order = (enum volume_order)k;
    if (order.order == VOLUME_ORDER_NONE || !read_number(json, "source", n_sources, &i) ||
        i == n_sources)
        return false;
    if (order.order == VOLUME_ORDER_UNDONE &&
        !read_number(json, "content", STAGING_PLACES, &order.undone))
        return false;
    orders[i] = order;
    return true;
}

/* Return: 0; -EINVAL, -ENOMEM with @e. */
static int read_orders(struct volume_record_document *document, struct error *e)
{
    const cJSON *orders = json_member(document->json, "orders"), *order;
    size_t n_sources = document->spec->n_sources;

    if (orders == NULL)
        return 0;
    document->orders = calloc(n_sources + 1, sizeof(*document->orders));
    if (document->orders == NULL)
        return error_set_errno(e, -ENOMEM, "cannot read the record of a volume");
    cJSON_ArrayForEach (order, orders) {
        if (!read_order(order, n_sources, document->orders))
            return error_set(e, -EINVAL, "invalid record of a volume: an order is invalid");
    }
    document->record.orders = document->orders;
    return 0;
}

/* ---- records */

int volume_record_print(const struct volume_record *record, char **ret_text)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *spec = NULL;
    int r = volume_spec_to_json(record->spec, &spec);

    if (r == 0 && !cJSON_AddItemToObject(json, "spec", spec)) {
        cJSON_Delete(spec);
        r = -ENOMEM;
    }
    r |= json_add_text(json, "target", record->target);
    r |= json_add_text(json, "namespace", record->namespace);
    r |= json_add_text(json, "pod", record->pod);
    r |= json_add_text(json, "podUid", record->pod_uid);
    r |= json_add_text(json, "serviceAccount", record->service_account);
    r |= json_add_text(json, "source", record->source);
    r |= add_orders(json, record);
    if (record->notified != 0)
        r |= json_add_number(json, "notified", (double)record->notified);
    if (r < 0)
        return r;
    *ret_text = cJSON_PrintUnformatted(json);
    return *ret_text != NULL ? 0 : -ENOMEM;
}

/* Return: 0; -EINVAL with @e. */
static int read_notified(struct volume_record_document *document, struct error *e)
{
    if (json_member(document->json, "notified") == NULL ||
        read_number(document->json, "notified", NUMBER_MAX, &document->record.notified))
        return 0;
    return error_set(e, -EINVAL, "invalid record of a volume: its `notified` is invalid");
}

/* Return: as volume_record_parse(); *document may be half-built. */
static int parse(const char *text, struct volume_record_document *document, struct error *e)
{
    int r = json_parse(text, strlen(text), &document->json, e);

    if (r == 0)
        r = volume_spec_from_json(json_member(document->json, "spec"), &document->spec, e);
    if (r < 0)
        return r;
    document->record = (struct volume_record){
        .target = json_text(document->json, "target"),
        .namespace = json_text(document->json, "namespace"),
        .pod = json_text(document->json, "pod"),
        .pod_uid = json_text(document->json, "podUid"),
        .service_account = json_text(document->json, "serviceAccount"),
        .source = json_text(document->json, "source"),
        .spec = document->spec,
    };
    if (document->record.target == NULL || document->record.namespace == NULL)
        return error_set(e, -EINVAL, "invalid record of a volume: it has no target");
    r = read_notified(document, e);
    return r == 0 ? read_orders(document, e) : r;
}

int volume_record_parse(const char *text, struct volume_record_document *ret_document,
                        struct error *e)
{
    int r;

    *ret_document = (struct volume_record_document){.json = NULL};
    r = parse(text, ret_document, e);
    if (r < 0)
        volume_record_deinit(ret_document);
    return r;
}

void volume_record_deinit(struct volume_record_document *document)
{
    volume_spec_free(document->spec);
    free(document->orders);
    cJSON_Delete(document->json);
    *document = (struct volume_record_document){.json = NULL};
}
