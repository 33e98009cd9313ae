/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A strategic merge patch of pods/status, as the kubelet sends it: the API server merges conditions
 * by their type, and the kubelet keeps those that are not its own. The uid in the patch is a
 * precondition: a pod that was created again under the same name answers 409.
 *
 * post_limits.c limits the patches: a refusal such as 403 keeps those of that namespace back for
 * some time. None is queued: the caller tries again.
 */
#include "node/condition_patches.h"

#include <stdio.h>

#include "cache/object.h"
#include "encoding/json.h"
#include "fetcher/api/pod.h"
#include "node/post_limits.h"

#define PATCH_LIMIT SPAN_SEC(10)
#define REFUSAL_MAX 4096u /* a Status; its message is what is read */

struct condition_patch {
    struct condition_patches *patches;
    struct exchange exchange;
    char *namespace;
    void *userdata;
    mono_us started_at;
};

struct condition_patches {
    struct condition_patches_options options;
    struct post_limits limits;
    size_t n; /* that are not freed */
};

static const char *const result_names[] = {
    [CONDITION_PATCH_WRITTEN] = "written",
    [CONDITION_PATCH_FAILED] = "failed",
    [CONDITION_PATCH_GONE] = "gone",
    [CONDITION_PATCH_DEFERRED] = "deferred",
};

const char *condition_patch_result_name(enum condition_patch_result result)
{
    return result_names[result];
}

int condition_patches_new(const struct condition_patches_options *options,
                          struct condition_patches **ret_patches)
{
    static const struct post_limits_options limits = {
        .per_minute = CONDITION_PATCHES_PER_MINUTE,
        .burst = CONDITION_PATCHES_BURST,
        .cannot = "cannot write conditions of pods",
        .again = "conditions of pods are written again",
        .allow = ": allow this identity to patch pods/status"};
    struct condition_patches *patches = calloc(1, sizeof(*patches));

    if (patches == NULL)
        return -ENOMEM;
    patches->options = *options;
    post_limits_init(&patches->limits, &limits);
    *ret_patches = patches;
    return 0;
}

struct condition_patches *condition_patches_free(struct condition_patches *patches)
{
    assert(patches == NULL || patches->n == 0);
    free(patches);
    return NULL;
}

/* ---- the request body */

static int add_condition(cJSON *json, const struct condition_known *written)
{
    cJSON *status = cJSON_AddObjectToObject(json, "status");
    cJSON *list = cJSON_AddArrayToObject(status, "conditions");
    cJSON *condition = cJSON_CreateObject();
    int r = 0;

    if (!cJSON_AddItemToArray(list, condition)) {
        cJSON_Delete(condition);
        return -ENOMEM;
    }
    r |= json_add_text(condition, "type", POD_CONDITION_TYPE);
    r |= json_add_text(condition, "status", written->status);
    r |= json_add_text(condition, "reason", written->reason);
    r |= json_add_text(condition, "message", written->message);
    return r | json_add_text(condition, "lastTransitionTime", written->last_transition);
}

/* Return: the body, to be freed by cJSON_free(); NULL when memory is short. */
static char *make_body(const struct condition_patch_pod *pod, const struct condition_known *written)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *metadata = cJSON_AddObjectToObject(json, "metadata");

    if ((json_add_text(metadata, "uid", pod->uid) | add_condition(json, written)) < 0)
        return NULL;
    return cJSON_PrintUnformatted(json);
}

/* ---- the answer */

static void finish(struct condition_patch *patch, enum condition_patch_result result)
{
    void (*done)(void *userdata, enum condition_patch_result result) = patch->patches->options.done;
    void *userdata = patch->userdata;

    condition_patch_free(patch);
    done(userdata, result);
}

static void on_done(void *userdata, const struct error *error)
{
    struct condition_patch *patch = userdata;
    const struct post post = {.namespace = patch->namespace, .started_at = patch->started_at};
    const struct exchange *x = &patch->exchange;

    if (error == NULL && (x->status == 404 || x->status == 409))
        finish(patch, CONDITION_PATCH_GONE);
    else if (post_limits_settle(&patch->patches->limits, &post, x, error))
        finish(patch, CONDITION_PATCH_WRITTEN);
    else
        finish(patch, CONDITION_PATCH_FAILED);
}

/* ---- the request */

struct condition_patch *condition_patch_free(struct condition_patch *patch)
{
    if (patch == NULL)
        return NULL;
    assert(patch->patches->n > 0);
    patch->patches->n--;
    exchange_deinit(&patch->exchange);
    free(patch->namespace);
    free(patch);
    return NULL;
}

static int patch_new(struct condition_patches *patches, const char *namespace,
                     struct condition_patch **ret_patch)
{
    _cleanup_(condition_patch_freep) struct condition_patch *patch = calloc(1, sizeof(*patch));
    const struct exchange_options exchange = {.calls = patches->options.calls,
                                              .body_max = REFUSAL_MAX,
                                              .done = on_done,
                                              .userdata = patch};

    if (patch == NULL)
        return -ENOMEM;
    patch->patches = patches;
    patches->n++;
    exchange_init(&patch->exchange, &exchange);
    patch->namespace = strdup(namespace);
    if (patch->namespace == NULL)
        return -ENOMEM;
    *ret_patch = TAKE(patch);
    return 0;
}

static int send_patch(struct condition_patch *patch, struct source *source,
                      const struct condition_patch_pod *pod, const struct condition_known *written)
{
    char path[sizeof("/api/v1/namespaces//pods//status") + OBJECT_NAMESPACE_MAX + OBJECT_NAME_MAX];
    struct http_call call = {.path = path, .is_patch = true, .total_limit = PATCH_LIMIT};
    struct error e = ERROR_INIT;
    char *body = make_body(pod, written);
    int r;

    if (body == NULL)
        return -ENOMEM;
    snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s/status", pod->namespace, pod->name);
    call.body = body;
    r = exchange_send(&patch->exchange, source, &call, &e);
    cJSON_free(body);
    if (r < 0)
        post_limits_failed(&patch->patches->limits, e.text, patch->started_at);
    return r;
}

int condition_patches_write(struct condition_patches *patches, struct source *source,
                            const struct condition_patch_pod *pod,
                            const struct condition_known *written, void *userdata, mono_us now,
                            struct condition_patch **ret_patch)
{
    _cleanup_(condition_patch_freep) struct condition_patch *patch = NULL;
    int r;

    if (!post_limits_take(&patches->limits, source, pod->namespace, now))
        return -EAGAIN;
    r = patch_new(patches, pod->namespace, &patch);
    if (r < 0)
        return r;
    patch->userdata = userdata;
    patch->started_at = now;
    r = send_patch(patch, source, pod, written);
    if (r == 0)
        *ret_patch = TAKE(patch);
    return r;
}
