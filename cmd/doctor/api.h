/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a doctor asks the API server: whether it answers, who we are to it, what we may do there. */
#include <cjson/cJSON.h>

#include "base/clock.h"
#include "cmd/doctor/options.h"
#include "cmd/doctor/report.h"

enum doctor_question {
    DOCTOR_VERSION,      /* GET /version: does it answer at all? */
    DOCTOR_IDENTITY,     /* SelfSubjectReview: who are we? */
    DOCTOR_DRIVER,       /* the CSIDriver object (R1, R2) */
    DOCTOR_NODE,         /* the CSINode object, in which the kubelet enters plug-ins */
    DOCTOR_READ_SECRETS, /* SelfSubjectAccessReview: watch every secret */
    DOCTOR_POST_EVENTS,  /* the same: create Events */
    DOCTOR_READ_PODS,    /* a list of the node's pods, as the daemon watches them */
    DOCTOR_QUESTIONS,
};

struct doctor_answer {
    int status;         /* of HTTP; 0: there was none, or it was not asked */
    cJSON *json;        /* owned; NULL if there is none */
    struct error error; /* why there was no answer */
};

struct doctor_api {
    bool has_config, has_credentials; /* what came of finding out how to ask */
    struct error error;               /* why not */
    char server[256], origin[256];
    char certificate_user[256]; /* whose it is; "" if there is none */
    bool has_certificate;
    struct timespec certificate_expiry;
    struct doctor_answer answers[DOCTOR_QUESTIONS];
};

/*
 * Ask, each question for a few seconds at most.
 * *ret_api is to be given to doctor_api_deinit().
 */
void doctor_api_ask(const struct doctor_options *options, struct doctor_api *ret_api);
void doctor_api_deinit(struct doctor_api *api);

/* @now: wall clock */
void doctor_api_judge(const struct doctor_api *api, const struct doctor_options *options,
                      struct timespec now, struct doctor_report *report);
