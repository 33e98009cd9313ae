/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/status/cluster.h"

static int no_memory(struct error *e)
{
    return error_set_errno(e, -ENOMEM, "cannot list volumes");
}

/* ---- a daemon's document */

/* Move the members of an array of objects to the list's, with the node's name. */
static int move_objects(const char *key, const char *node, cJSON *document, cJSON *list)
{
    cJSON *from = cJSON_GetObjectItemCaseSensitive(document, key);
    cJSON *to = cJSON_GetObjectItemCaseSensitive(list, key);

    if (!cJSON_IsArray(from))
        return 0;
    while (from->child != NULL) {
        cJSON *object = cJSON_DetachItemViaPointer(from, from->child);

        if (json_add_text(object, "node", node) < 0 || !cJSON_AddItemToArray(to, object)) {
            cJSON_Delete(object);
            return -ENOMEM;
        }
    }
    return 0;
}

static int add_error(cJSON *list, const struct error *error)
{
    cJSON *errors = cJSON_GetObjectItemCaseSensitive(list, "errors");
    cJSON *text = cJSON_CreateString(error->text);

    if (errors == NULL)
        errors = cJSON_AddArrayToObject(list, "errors");
    if (cJSON_AddItemToArray(errors, text))
        return 0;
    cJSON_Delete(text);
    return -ENOMEM;
}

static int add_errors(const char *node, const cJSON *document, cJSON *list)
{
    const cJSON *text;
    int r = 0;

    cJSON_ArrayForEach (text, json_member(document, "errors")) {
        struct error error = ERROR_INIT;

        error_set(&error, -EIO, "node %s: %s", node, cJSON_IsString(text) ? text->valuestring : "");
        if (r == 0)
            r = add_error(list, &error);
    }
    return r;
}

int status_cluster_add(const char *node, const char *document, size_t len, cJSON *list,
                       struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *json = NULL;
    int r = json_parse(document, len, &json, e);

    if (r < 0)
        return error_prefix(e, r, "node %s: invalid status document", node);
    if (!cJSON_IsArray(json_member(json, "items")))
        return error_set(e, -EINVAL, "node %s: invalid status document: it has no items", node);
    r = move_objects("processes", node, json, list);
    if (r == 0)
        r = move_objects("items", node, json, list);
    if (r == 0)
        r = add_errors(node, json, list);
    return r < 0 ? no_memory(e) : 0;
}

/* A daemon that lists its volumes with errors ends with 1. */
static int add_daemon(const struct cluster_daemon *daemon, cJSON *list)
{
    struct error why = ERROR_INIT;
    int r;

    if (daemon->pod == NULL || daemon->output.len == 0)
        r = cluster_error(daemon, &why);
    else
        r = status_cluster_add(daemon->node, buf_text(&daemon->output), daemon->output.len, list,
                               &why);
    return r == 0 || r == -ENOMEM ? r : add_error(list, &why);
}

/* ---- pods by their labels */

struct selection {
    cJSON *pods; /* owned: an object with a member for each pod */
    struct error *e;
};

static int on_pod(void *userdata, const char *line, size_t len)
{
    struct selection *s = userdata;

    return cJSON_AddTrueToObject(s->pods, line) != NULL ? 0 : no_memory(s->e);
}

static void remove_others(const cJSON *pods, cJSON *list)
{
    cJSON *items = cJSON_GetObjectItemCaseSensitive(list, "items");
    cJSON *item = items->child, *next;

    for (; item != NULL; item = next) {
        const char *pod = json_text(item, "pod");

        next = item->next;
        if (pod == NULL || json_member(pods, pod) == NULL)
            cJSON_Delete(cJSON_DetachItemViaPointer(items, item));
    }
}

static int select_pods(const struct status_cluster *from, cJSON *list, struct error *e)
{
    const char *const words[] = {"get",
                                 "pods",
                                 "-A",
                                 "-l",
                                 from->selector,
                                 "-o",
                                 KUBECTL_EACH_ITEM(".metadata.namespace}/{.metadata.name"),
                                 NULL};
    _cleanup_(cJSON_Deletep) cJSON *pods = cJSON_CreateObject();
    struct selection s = {.pods = pods, .e = e};
    int r = kubectl_read_lines(&from->choice.kubectl, words, on_pod, &s, e);

    if (r == 0)
        remove_others(pods, list);
    return r;
}

/* ---- the list */

static int collect(struct cluster *cluster, bool is_debug, cJSON *list, struct error *e)
{
    const char *const words[] = {"status", "-o", "json", is_debug ? "--debug" : NULL, NULL};
    int r = 0;

    cluster_run(cluster, words);
    for (size_t i = 0; i < cluster->n && r == 0; i++)
        r = add_daemon(&cluster->list[i], list);
    return r < 0 ? no_memory(e) : 0;
}

int status_request_cluster(const struct status_cluster *from, bool is_debug, cJSON **ret_list,
                           struct error *e)
{
    _cleanup_(cluster_deinit) struct cluster cluster = {.choice = from->choice};
    _cleanup_(cJSON_Deletep) cJSON *list = cJSON_CreateObject();
    int r = cluster_find(&cluster, e);

    if (r < 0)
        return r;
    if (cJSON_AddArrayToObject(list, "processes") == NULL ||
        cJSON_AddArrayToObject(list, "items") == NULL)
        return no_memory(e);
    r = collect(&cluster, is_debug, list, e);
    if (r == 0 && from->selector != NULL)
        r = select_pods(from, list, e);
    if (r == 0)
        *ret_list = TAKE(list);
    return r;
}
