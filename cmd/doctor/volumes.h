/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Volumes whose readers do not get the newest content, by state. Evaluating is a pure function.
 */
#include "cmd/doctor/report.h"
#include "encoding/json.h"

enum doctor_volume_state {
    DOCTOR_FAILING,
    DOCTOR_STALE,
    DOCTOR_HELD,
    DOCTOR_DISCONNECTED,
    DOCTOR_VOLUME_STATES,
};

/* The volumes in one state; zero to begin with. */
struct doctor_volumes {
    size_t n;
    char mountpoint[256]; /* of one of them */
    char reason[256];     /* of the same; "" if unknown */
};

/*
 * Add a volume to its state, if it is one of those above.
 * @volumes: DOCTOR_VOLUME_STATES of them
 * @volume: as status_request_all() lists it
 */
void doctor_volumes_add(struct doctor_volumes *volumes, const cJSON *volume);

/* @volumes: as above */
void doctor_volumes_evaluate(const struct doctor_volumes *volumes, struct doctor_report *report);
