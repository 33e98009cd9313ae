/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/report.h"

#include "cmd/adopt/policy.h"
#include "encoding/json.h"

/* NULL: the policy looks at the pod's volumes. */
static const char *const pod_reasons[] = {
    [ADOPT_POD] = NULL,
    [ADOPT_POD_DISABLED] = "the pod is annotated secretfs.io/adopt: disabled",
    [ADOPT_POD_MIRROR] = "a mirror pod",
    [ADOPT_POD_WINDOWS] = "a pod of Windows",
    [ADOPT_POD_RUNTIME_CLASS] = "a runtime class of virtual machines",
};

/* NULL: the volume does not count, or is served. */
static const char *const volume_reasons[] = {
    [ADOPT_VOLUME] = "created before the policy applied",
    [ADOPT_VOLUME_SERVED] = NULL,
    [ADOPT_VOLUME_OTHER_KIND] = NULL,
    [ADOPT_VOLUME_SOURCES] = "a source stays with the kubelet",
    [ADOPT_VOLUME_NOT_MOUNTED] = NULL,
    [ADOPT_VOLUME_TOKEN] = NULL,
    [ADOPT_VOLUME_LONG_NAME] = "its name is too long",
    [ADOPT_VOLUME_NAME_TAKEN] = "another volume has its name with -secretfs",
};

static bool has_label(const cJSON *namespace, const char *label)
{
    const char *value = json_text(json_member(namespace, "labels"), label);

    return value != NULL && streq(value, "enabled");
}

/* What keeps all of the pod's volumes from being adopted, or NULL. */
static const char *pod_reason(const cJSON *pod, const cJSON *namespace)
{
    return has_label(namespace, ADOPT_LABEL) ? pod_reasons[adopt_pod_decide(pod)]
                                             : "the namespace has no label " ADOPT_LABEL
                                               ": enabled";
}

/* Return: 0, also if the text has no room left; -ENOMEM. */
static int add_reason(struct report *report, const char *volume, const char *reason)
{
    const char *comma = report->reason.len > 0 ? ", " : "";
    int r = volume != NULL ? buf_addf(&report->reason, "%s%s: %s", comma, volume, reason)
                           : buf_add_text(&report->reason, reason);

    return r == -ENOMEM ? r : 0;
}

/* @explains: whether its own reason is the one that counts */
static int report_volume(const cJSON *volume, const struct adopt_names *names, bool adopts_tokens,
                         bool explains, struct report *report)
{
    enum adopt_volume decision = adopt_volume_decide(names, volume, adopts_tokens);
    const char *reason = volume_reasons[decision];

    report->n_served += decision == ADOPT_VOLUME_SERVED;
    report->n_volumes += decision == ADOPT_VOLUME_SERVED || reason != NULL;
    return reason != NULL && explains ? add_reason(report, json_text(volume, "name"), reason) : 0;
}

int report_pod(const cJSON *pod, const cJSON *namespace, struct report *report)
{
    _cleanup_(adopt_names_deinit) struct adopt_names names = {.volumes.n = 0};
    const cJSON *spec = json_member(pod, "spec"), *volume;
    bool adopts_tokens = has_label(namespace, ADOPT_TOKENS_LABEL);
    const char *reason = pod_reason(pod, namespace);
    int r = adopt_names_init(&names, spec);

    cJSON_ArrayForEach (volume, json_member(spec, "volumes")) {
        if (r == 0 && json_text(volume, "name") != NULL)
            r = report_volume(volume, &names, adopts_tokens, reason == NULL, report);
    }
    if (r == 0 && reason != NULL && report->n_served < report->n_volumes)
        r = add_reason(report, NULL, reason);
    return r;
}

void report_deinit(struct report *report)
{
    buf_deinit(&report->reason);
}
