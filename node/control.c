/* SPDX-License-Identifier: Apache-2.0 */
/*
 *     request   {"order": "pause", "object": "secret/db", "namespace": "prod"}
 *     answer    {"volumes": [{"volume": "prod/web-0"}, {"volume": "prod/web-1", "error": "..."}]}
 *
 * Without a namespace the object has to be in one only: an order for another team's object of the
 * same name would be a surprise.
 */
#include "node/control.h"

#include <stdio.h>

#include "monitor/control_socket.h"

struct node_control {
    struct node_volumes *volumes;
    struct control_socket *socket; /* NULL: it does not listen */
};

typedef int apply_fn(struct volume *volume, size_t i, mono_us now, struct error *e);

struct order {
    apply_fn *apply;
    enum object_kind kind;
    const char *name;
    const char *namespace; /* NULL: the only one */
    bool has_several;      /* namespaces */
    cJSON *list;           /* of the answer */
    int result;
};

/* ---- the orders */

static int pause_one(struct volume *volume, size_t i, mono_us now, struct error *e)
{
    volume_pause(volume, i, now);
    return 0;
}

static int resume_one(struct volume *volume, size_t i, mono_us now, struct error *e)
{
    volume_resume(volume, i, now);
    return 0;
}

static int undo_one(struct volume *volume, size_t i, mono_us now, struct error *e)
{
    int r = volume_undo(volume, i, now);

    return r < 0 ? error_set(e, r,
                             "no earlier content is kept: there was no update within an hour, it "
                             "was undone, or the daemon runs without --keep-previous on")
                 : 0;
}

static const struct {
    const char *name;
    apply_fn *apply;
} orders[] = {{"pause", pause_one}, {"resume", resume_one}, {"undo", undo_one}};

/* ---- the volumes that they concern */

static bool concerns(const struct order *order, const struct node_volume *v, size_t i)
{
    const struct object_key *key = volume_view(v->published.volume, i)->key;

    return key->kind == order->kind && streq(key->name, order->name) &&
           (order->namespace == NULL || streq(v->namespace, order->namespace));
}

/* A node_volume_visit_fn. */
static bool find_namespace(void *userdata, struct node_volume *v)
{
    struct order *order = userdata;
    const char *wanted = order->namespace;

    order->namespace = NULL;
    for (size_t i = 0; v->published.volume != NULL && i < v->spec->n_sources; i++) {
        if (!concerns(order, v, i))
            continue;
        order->has_several = order->has_several || (wanted != NULL && !streq(wanted, v->namespace));
        wanted = v->namespace;
    }
    order->namespace = wanted;
    return true;
}

static int add_answer(cJSON *list, const struct node_volume *v, const char *error)
{
    cJSON *json = cJSON_CreateObject();
    char pod[OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX + 2];
    int r;

    snprintf(pod, sizeof(pod), "%s/%s", v->namespace, v->pod != NULL ? v->pod : "");
    r = json_add_text(json, "volume", v->pod != NULL ? pod : v->target);
    r |= json_add_text(json, "error", error);
    if (cJSON_AddItemToArray(list, json))
        return r;
    cJSON_Delete(json);
    return -ENOMEM;
}

/* A node_volume_visit_fn. */
static bool apply(void *userdata, struct node_volume *v)
{
    struct order *order = userdata;
    mono_us now = clock_mono();

    for (size_t i = 0; v->published.volume != NULL && i < v->spec->n_sources; i++) {
        struct error e = ERROR_INIT;
        int r;

        if (!concerns(order, v, i))
            continue;
        r = order->apply(v->published.volume, i, now, &e);
        order->result |= add_answer(order->list, v, r < 0 ? e.text : NULL);
    }
    return true;
}

/* ---- a request */

static int parse(const cJSON *request, struct order *order, struct error *e)
{
    const char *name = json_text(request, "order"), *object = json_text(request, "object");

    *order = (struct order){.namespace = json_text(request, "namespace")};
    for (size_t i = 0; name != NULL && i < ELEMENTS_OF(orders); i++)
        if (streq(orders[i].name, name))
            order->apply = orders[i].apply;
    order->name = object != NULL ? object_kind_parse(object, &order->kind) : NULL;
    if (order->apply == NULL || order->name == NULL)
        return error_set(e, -EINVAL,
                         "the daemon does not know this order: it is of another version");
    return 0;
}

/* A control_handle_fn. */
static int handle(void *userdata, const cJSON *request, cJSON *answer, struct error *e)
{
    const struct node_control *control = userdata;
    struct order order;
    int r = parse(request, &order, e);

    if (r < 0)
        return r;
    if (order.namespace == NULL)
        node_volumes_visit(control->volumes, find_namespace, &order);
    if (order.has_several)
        return error_set(e, -EINVAL,
                         "several namespaces have that object on this node: choose one with -n");
    order.list = cJSON_AddArrayToObject(answer, "volumes");
    node_volumes_visit(control->volumes, apply, &order);
    if (order.list == NULL || order.result < 0)
        return error_set_errno(e, -ENOMEM, "cannot answer");
    if (cJSON_GetArraySize(order.list) == 0)
        return error_set(e, -ENOENT, "no volume of this node shows that object");
    log_info("order carried out", "order", json_text(request, "order"), "object",
             json_text(request, "object"), "namespace", order.namespace, "volumes",
             LOG_NUM(cJSON_GetArraySize(order.list)));
    return 0;
}

/* ---- the object */

int node_control_new(sd_event *event, const char *run_dir, struct node_volumes *volumes,
                     struct node_control **ret_control)
{
    struct node_control *control = calloc(1, sizeof(*control));
    _cleanup_(freep) char *path = NULL;
    struct error e = ERROR_INIT;

    if (control == NULL)
        return -ENOMEM;
    control->volumes = volumes;
    if (asprintf(&path, "%s/" NODE_CONTROL_SOCKET, run_dir) < 0) {
        path = NULL;
        free(control);
        return -ENOMEM;
    }
    if (control_socket_new(event, path, handle, control, &control->socket, &e) < 0)
        log_warn("cannot open the control socket; `secretfs rollout pause` will fail", "reason",
                 e.text);
    *ret_control = control;
    return 0;
}

struct node_control *node_control_free(struct node_control *control)
{
    if (control == NULL)
        return NULL;
    control_socket_free(control->socket);
    free(control);
    return NULL;
}
