/* SPDX-License-Identifier: Apache-2.0 */
/*
 *   condition of the pod                              state
 *   none, and the pod has not started                 waiting
 *   none; Unknown; True, but the version is cut off   unknown
 *   False                                             waiting
 *   True with an older version                        waiting
 *   True with the version, or a later one             current
 *
 * Versions are compared as numbers, which API servers count up.
 */
#include "cmd/rollout/pods.h"

#include <stdio.h>
#include <stdlib.h>

#include "fetcher/api/pod.h"
#include "volume/attributes.h"

#define ROW_FORMAT  "%-*s   %-20s   %-8s   %-20s   %s\n"
#define WIDTH_MAX   253
#define TEXT_SIZE   1200u /* a condition's message has 1,024 bytes at most */
#define VERSION_MAX 64

struct row {
    char *pod;
    char *node;
    enum rollout_state state;
    char *reason;  /* of the condition; "" */
    char *version; /* "" */
    char *text;    /* why the state is not ROLLOUT_DONE */
};

struct rollout_pods {
    const struct rollout_pods_query *query;
    struct row *rows;
    size_t n;
};

/* ---- whether a pod mounts the object */

static const cJSON *find_named(const cJSON *list, const char *key, const char *name)
{
    const cJSON *item;

    cJSON_ArrayForEach (item, list) {
        const char *text = json_text(item, key);

        if (text != NULL && streq(text, name))
            return item;
    }
    return NULL;
}

static size_t list_attributes(const cJSON *from, struct volume_attribute *ret_attributes)
{
    const cJSON *value;
    size_t n = 0;

    cJSON_ArrayForEach (value, from) {
        if (n < VOLUME_ATTRIBUTES_MAX && cJSON_IsString(value))
            ret_attributes[n++] =
                (struct volume_attribute){.key = value->string, .value = value->valuestring};
    }
    return n;
}

static bool has_object(const struct volume_spec *spec, const struct rollout_pods_query *query)
{
    for (size_t i = 0; i < spec->n_sources; i++)
        if (spec->sources[i].kind == query->kind && streq(spec->sources[i].name, query->name))
            return true;
    return false;
}

/* A volume that the node refuses shows nothing. */
static bool mounts_object(const struct rollout_pods_query *query, const cJSON *volumes,
                          const cJSON *volume)
{
    const cJSON *csi = json_member(volume, "csi");
    const char *secret = json_text(json_member(csi, "nodePublishSecretRef"), "name");
    struct volume_attribute attributes[VOLUME_ATTRIBUTES_MAX];
    size_t n = list_attributes(json_member(csi, "volumeAttributes"), attributes);
    const char *pod_volume = volume_attributes_pod_volume(attributes, n);
    const struct volume_attributes_context context = {
        .pod_volume = pod_volume != NULL ? find_named(volumes, "name", pod_volume) : NULL,
        .default_secret = secret != NULL ? secret : json_text(volume, "name"),
    };
    _cleanup_(volume_spec_freep) struct volume_spec *spec = NULL;
    struct error ignored = ERROR_INIT;

    return volume_attributes_parse(attributes, n, &context, &spec, &ignored) == 0 &&
           has_object(spec, query);
}

static bool is_concerned(const struct rollout_pods_query *query, const cJSON *pod)
{
    const cJSON *volumes = json_path(pod, "spec", "volumes", NULL), *volume;

    cJSON_ArrayForEach (volume, volumes) {
        const char *driver = json_text(json_member(volume, "csi"), "driver");

        if (driver != NULL && streq(driver, query->driver) && mounts_object(query, volumes, volume))
            return true;
    }
    return false;
}

static const char *phase_of(const cJSON *pod)
{
    const char *phase = json_text(json_member(pod, "status"), "phase");

    return phase != NULL ? phase : "";
}

static bool has_ended(const cJSON *pod)
{
    return streq(phase_of(pod), "Succeeded") || streq(phase_of(pod), "Failed");
}

/* ---- versions */

static bool is_number(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* Whether @version is @wanted or a later one. */
static bool is_reached(const char *version, const char *wanted)
{
    size_t len = strlen(version), wanted_len = strlen(wanted);

    if (!is_number(version) || !is_number(wanted))
        return streq(version, wanted);
    return len != wanted_len ? len > wanted_len : strcmp(version, wanted) >= 0;
}

/*
 * The oldest version of the object in a message such as "secret/prod/db@12, configmap/prod/web@7".
 * Return: whether there is one.
 */
static bool find_version(const char *message, const char *object,
                         char ret_version[static VERSION_MAX])
{
    size_t object_len = strlen(object);
    bool is_found = false;

    for (const char *part = message; *part != '\0';) {
        size_t len = strcspn(part, ",");
        char version[VERSION_MAX];

        if (len > object_len + 1 && strncmp(part, object, object_len) == 0 &&
            part[object_len] == '@') {
            snprintf(version, sizeof(version), "%.*s", (int)(len - object_len - 1),
                     part + object_len + 1);
            if (!is_found || is_reached(ret_version, version))
                memcpy(ret_version, version, sizeof(version));
            is_found = true;
        }
        part += len + strspn(part + len, ", ");
    }
    return is_found;
}

/* ---- a pod */

struct judged {
    enum rollout_state state;
    const char *reason;
    char version[VERSION_MAX];
    char text[TEXT_SIZE];
};

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static void judge_proven(const struct rollout_pods_query *query, const char *namespace,
                         const char *message, struct judged *j)
{
    const struct object_key key = {
        .kind = query->kind, .namespace = namespace, .name = query->name};
    char object[OBJECT_KEY_TEXT_SIZE];

    object_key_text(&key, object);
    if (!find_version(message, object, j->version)) {
        j->state = ROLLOUT_UNSEEN;
        snprintf(j->text, sizeof(j->text), "the condition does not have the version of %s", object);
    } else if (!is_reached(j->version, query->resource_version)) {
        j->state = ROLLOUT_WAITING;
        snprintf(j->text, sizeof(j->text), "has version %s, not %.64s", j->version,
                 query->resource_version);
    }
}

static void judge_missing(const cJSON *pod, struct judged *j)
{
    bool has_started = streq(phase_of(pod), "Running");

    j->state = has_started ? ROLLOUT_UNSEEN : ROLLOUT_WAITING;
    snprintf(j->text, sizeof(j->text), "%s",
             has_started ? "has no condition " POD_CONDITION_TYPE
                           "; its volume needs `report: condition`, or its node "
                           "`report-conditions: on`"
                         : "has not started");
}

static void judge(const struct rollout_pods_query *query, const cJSON *pod, struct judged *j)
{
    const cJSON *condition =
        find_named(json_path(pod, "status", "conditions", NULL), "type", POD_CONDITION_TYPE);
    const char *status = or_empty(json_text(condition, "status"));
    const char *message = or_empty(json_text(condition, "message"));

    *j = (struct judged){.state = ROLLOUT_DONE, .reason = or_empty(json_text(condition, "reason"))};
    if (condition == NULL) {
        judge_missing(pod, j);
    } else if (streq(status, "True")) {
        judge_proven(query, or_empty(json_text(json_member(pod, "metadata"), "namespace")), message,
                     j);
    } else {
        j->state = streq(status, "False") ? ROLLOUT_WAITING : ROLLOUT_UNSEEN;
        snprintf(j->text, sizeof(j->text), "%s", message);
    }
}

static void row_deinit(struct row *row)
{
    free(row->pod);
    free(row->node);
    free(row->reason);
    free(row->version);
    free(row->text);
}

static int add_row(struct rollout_pods *p, const cJSON *pod, const struct judged *j)
{
    const cJSON *metadata = json_member(pod, "metadata");
    struct row *rows = reallocarray(p->rows, p->n + 1, sizeof(*rows)), row;

    if (rows == NULL)
        return -ENOMEM;
    p->rows = rows;
    row = (struct row){
        .pod = strdup(or_empty(json_text(metadata, "name"))),
        .node = strdup(or_empty(json_text(json_member(pod, "spec"), "nodeName"))),
        .state = j->state,
        .reason = strdup(j->reason),
        .version = strdup(j->version),
        .text = strdup(j->text),
    };
    if (row.pod == NULL || row.node == NULL || row.reason == NULL || row.version == NULL ||
        row.text == NULL) {
        row_deinit(&row);
        return -ENOMEM;
    }
    p->rows[p->n++] = row;
    return 0;
}

int rollout_pods_add(struct rollout_pods *pods, const cJSON *pod)
{
    struct judged j;

    if (has_ended(pod) || !is_concerned(pods->query, pod))
        return 0;
    judge(pods->query, pod, &j);
    return add_row(pods, pod, &j);
}

/* ---- all pods */

static const char *state_name(enum rollout_state state)
{
    switch (state) {
    case ROLLOUT_DONE:
        return "current";
    case ROLLOUT_WAITING:
        return "waiting";
    case ROLLOUT_UNSEEN:
        break;
    }
    return "unknown";
}

static const char *or_dash(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

static int width_of(const struct rollout_pods *p)
{
    size_t width = strlen("POD");

    for (size_t i = 0; i < p->n; i++)
        if (strlen(p->rows[i].pod) > width)
            width = strlen(p->rows[i].pod);
    return (int)size_min(width, WIDTH_MAX);
}

static int add_lines(const struct rollout_pods *p, struct buf *lines)
{
    int width = width_of(p), r = 0;

    if (p->n > 0)
        r = buf_addf(lines, ROW_FORMAT, width, "POD", "NODE", "STATE", "REASON", "VERSION");
    for (size_t i = 0; i < p->n && r == 0; i++)
        r = buf_addf(lines, ROW_FORMAT, width, p->rows[i].pod, or_dash(p->rows[i].node),
                     state_name(p->rows[i].state), or_dash(p->rows[i].reason),
                     or_dash(p->rows[i].version));
    return r;
}

int rollout_pods_finish(const struct rollout_pods *pods, struct rollout_verdict *ret_verdict,
                        struct buf *lines, struct buf *reasons)
{
    struct rollout_verdict verdict = {.n_volumes = pods->n, .n_consumers = pods->n};
    int r = add_lines(pods, lines);

    for (size_t i = 0; i < pods->n && r == 0; i++) {
        const struct row *row = &pods->rows[i];

        if (row->state > verdict.state)
            verdict.state = row->state;
        verdict.n_waiting += row->state == ROLLOUT_WAITING;
        verdict.n_current += row->state == ROLLOUT_DONE;
        if (row->state != ROLLOUT_DONE)
            r = buf_addf(reasons, "pod %s: %s\n", row->pod, row->text);
    }
    *ret_verdict = verdict;
    return r;
}

int rollout_pods_new(const struct rollout_pods_query *query, struct rollout_pods **ret_pods)
{
    struct rollout_pods *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return -ENOMEM;
    p->query = query;
    *ret_pods = p;
    return 0;
}

struct rollout_pods *rollout_pods_free(struct rollout_pods *pods)
{
    if (pods == NULL)
        return NULL;
    for (size_t i = 0; i < pods->n; i++)
        row_deinit(&pods->rows[i]);
    free(pods->rows);
    free(pods);
    return NULL;
}
