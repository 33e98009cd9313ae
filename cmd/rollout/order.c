/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/rollout/order.h"

#include <limits.h>
#include <stdio.h>

#include "cache/object.h"
#include "monitor/control_socket.h"
#include "node/control.h"

/* The loop of a node with thousands of volumes publishes them one after the other. */
#define TIMEOUT_MS 30000

/* What was done, in a line. */
static const char *done_word(const char *order)
{
    if (streq(order, "pause"))
        return "paused";
    return streq(order, "undo") ? "undone" : "resumed";
}

static int print_answer(const struct rollout_order *order, const cJSON *answer)
{
    const cJSON *volume;
    int r = 0;

    cJSON_ArrayForEach (volume, json_member(answer, "volumes")) {
        const char *name = json_text(volume, "volume"), *error = json_text(volume, "error");

        if (error == NULL)
            printf("%s %s\n", name != NULL ? name : "-", done_word(order->order));
        else
            fprintf(stderr, "%s: %s\n", name != NULL ? name : "-", error);
        r = error != NULL ? 1 : r;
    }
    return r;
}

static int send_order(const struct rollout_order *order, const char *path, struct error *e)
{
    _cleanup_(cJSON_Deletep) cJSON *request = cJSON_CreateObject(), *answer = NULL;
    int r = json_add_text(request, "order", order->order);

    r |= json_add_text(request, "object", order->object);
    r |= json_add_text(request, "namespace", order->namespace);
    if (r < 0)
        return error_set_errno(e, -ENOMEM, "cannot send the order");
    r = control_request(path, request, TIMEOUT_MS, &answer, e);
    return r < 0 ? r : print_answer(order, answer);
}

int rollout_object_check(const char *object, struct error *e)
{
    enum object_kind kind;
    const char *name = object_kind_parse(object, &kind);

    if (name == NULL || !object_name_is_valid(name))
        return object_kind_invalid(object, e);
    return 0;
}

int rollout_order(const struct rollout_order *order, struct error *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" NODE_CONTROL_SOCKET, order->run_dir);
    return send_order(order, path, e);
}
