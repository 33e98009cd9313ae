/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/adopt/report.h"

#include "cmd/adopt/policy.h"
#include "encoding/json.h"

/* NULL: the policy looks at the pod's volumes. */
static const char *const pod_reasons[] = {
    [ADOPT_POD] = NULL,
    [ADOPT_POD_DISABLED] = "the pod is annotated secretfs.io/adopt: disabled",
    [ADOPT_POD_MIRROR] = "a mirror pod, of a file on its node",
    [ADOPT_POD_WINDOWS] = "a pod of Windows",
    [ADOPT_POD_RUNTIME_CLASS] = "a runtime class of virtual machines",
};

static_assert(ADOPT_NAME_MAX == 54, "a message has the number");

/* NULL: the volume does not count, or is served. */
static const char *const volume_reasons[] = {
    [ADOPT_VOLUME] = "created without the policy: apply deploy/adopt, then recreate the pod",
    [ADOPT_VOLUME_SERVED] = NULL,
    [ADOPT_VOLUME_OTHER_KIND] = NULL,
    [ADOPT_VOLUME_SOURCES] = "it has a source that secretfs does not know",
    [ADOPT_VOLUME_NOT_MOUNTED] = NULL,
    [ADOPT_VOLUME_TOKEN] = NULL,
    [ADOPT_VOLUME_LONG_NAME] = "rename it: the name has more than 54 characters",
    [ADOPT_VOLUME_NAME_TAKEN] = "rename it: another volume has its name with -secretfs",
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
static int add_text(struct report *report, const char *before, const char *text)
{
    int r = buf_addf(&report->reason, "%s%s", before, text);

    return r == -ENOMEM ? r : 0;
}

/* A pod's volumes, and what the policy makes of each. */
struct judged {
    const cJSON *volumes;
    struct adopt_names names;
    bool adopts_tokens;
};

static enum adopt_volume judge(const struct judged *j, const cJSON *volume)
{
    return adopt_volume_decide(&j->names, volume, j->adopts_tokens);
}

static void count_volumes(const struct judged *j, struct report *report)
{
    const cJSON *volume;

    cJSON_ArrayForEach (volume, j->volumes) {
        enum adopt_volume decision;

        if (json_text(volume, "name") == NULL)
            continue;
        decision = judge(j, volume);
        report->n_served += decision == ADOPT_VOLUME_SERVED;
        report->n_volumes += decision == ADOPT_VOLUME_SERVED || volume_reasons[decision] != NULL;
    }
}

/* Add the names of the volumes with this decision, and the reason. */
static int add_group(const struct judged *j, enum adopt_volume decision, struct report *report)
{
    const char *before = report->reason.len > 0 ? "; " : "";
    const cJSON *volume;
    bool has_names = false;
    int r = 0;

    cJSON_ArrayForEach (volume, j->volumes) {
        const char *name = json_text(volume, "name");

        if (r < 0 || name == NULL || judge(j, volume) != decision)
            continue;
        r = add_text(report, has_names ? ", " : before, name);
        has_names = true;
    }
    return r == 0 && has_names ? add_text(report, ": ", volume_reasons[decision]) : r;
}

static int add_groups(const struct judged *j, struct report *report)
{
    int r = 0;

    for (size_t i = 0; i < ELEMENTS_OF(volume_reasons) && r == 0; i++)
        if (volume_reasons[i] != NULL)
            r = add_group(j, (enum adopt_volume)i, report);
    return r;
}

int report_pod(const cJSON *pod, const cJSON *namespace, struct report *report)
{
    const cJSON *spec = json_member(pod, "spec");
    struct judged j = {.volumes = json_member(spec, "volumes"),
                       .adopts_tokens = has_label(namespace, ADOPT_TOKENS_LABEL)};
    const char *reason = pod_reason(pod, namespace);
    int r = adopt_names_init(&j.names, spec);

    if (r == 0)
        count_volumes(&j, report);
    if (r == 0 && report->n_served < report->n_volumes)
        r = reason != NULL ? add_text(report, "", reason) : add_groups(&j, report);
    adopt_names_deinit(&j.names);
    return r;
}

void report_deinit(struct report *report)
{
    buf_deinit(&report->reason);
}
