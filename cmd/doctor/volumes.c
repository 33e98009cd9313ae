/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/doctor/volumes.h"

#include <stdio.h>

#include "serve/reader_state.h"

static const struct {
    enum reader_state state;
    const char *remedy;
} states[] = {
    [DOCTOR_FAILING] = {READER_FAILING,
                        "remove the cause; publishing is retried, and the last content stays "
                        "readable"},
    [DOCTOR_STALE] = {READER_STALE, "correct the object in its source, or the rights to read it"},
    [DOCTOR_HELD] =
        {READER_HELD,
         "correct the values in the object, if a check refuses them; what an annotation "
         "or `secretfs rollout` holds goes on when that ends"},
    [DOCTOR_DISCONNECTED] = {READER_DISCONNECTED,
                             "check the network to the API server and the credentials, or the "
                             "manifests"},
};

static_assert(ELEMENTS_OF(states) == DOCTOR_VOLUME_STATES, "a remedy for each state");

/* The volume's own reason precedes that of its source. */
static const char *reason_of(const cJSON *volume)
{
    const char *own = json_text(json_member(volume, "volume"), "error");
    const char *source = json_text(json_member(volume, "source"), "error");

    return own != NULL ? own : source != NULL ? source : "";
}

void doctor_volumes_add(struct doctor_volumes *volumes, const cJSON *volume)
{
    const char *state = json_text(json_member(volume, "volume"), "state");
    const char *mountpoint = json_text(volume, "mountpoint");
    size_t i = 0;

    if (state == NULL || mountpoint == NULL)
        return;
    while (i < DOCTOR_VOLUME_STATES && !streq(state, reader_state_name(states[i].state)))
        i++;
    if (i == DOCTOR_VOLUME_STATES || volumes[i].n++ > 0)
        return;
    snprintf(volumes[i].mountpoint, sizeof(volumes[i].mountpoint), "%s", mountpoint);
    snprintf(volumes[i].reason, sizeof(volumes[i].reason), "%s", reason_of(volume));
}

void doctor_volumes_evaluate(const struct doctor_volumes *volumes, struct doctor_report *report)
{
    size_t n = 0;

    for (size_t i = 0; i < DOCTOR_VOLUME_STATES; i++) {
        const struct doctor_volumes *v = &volumes[i];

        n += v->n;
        if (v->n == 0)
            continue;
        doctor_add(report, DOCTOR_WARN, "volumes", "%zu %s, such as %s%s%s", v->n,
                   reader_state_name(states[i].state), v->mountpoint,
                   v->reason[0] != '\0' ? ": " : "", v->reason);
        doctor_remedy(report, "%s", states[i].remedy);
    }
    if (n == 0)
        doctor_add(report, DOCTOR_OK, "volumes", "none is failing, stale, held or disconnected");
}
