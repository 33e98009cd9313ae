/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Checks at the API server: whether it answers, who we are there, what we may do, and whether the
 * driver is configured. Collecting sends requests; evaluating is a pure function.
 */
#include <cjson/cJSON.h>

#include "base/clock.h"
#include "cmd/doctor/options.h"
#include "cmd/doctor/report.h"

enum doctor_request {
    DOCTOR_VERSION,      /* GET /version: whether it answers */
    DOCTOR_IDENTITY,     /* SelfSubjectReview: our user name */
    DOCTOR_DRIVER,       /* the CSIDriver object (R1, R2) */
    DOCTOR_NODE,         /* the CSINode object, where the kubelet lists registered drivers */
    DOCTOR_READ_SECRETS, /* SelfSubjectAccessReview: watch every secret */
    DOCTOR_POST_EVENTS,  /* SelfSubjectAccessReview: create Events */
    DOCTOR_READ_PODS,    /* a list of the node's pods, as the daemon watches them */
    DOCTOR_REQUESTS,
};

struct doctor_answer {
    int status;         /* of HTTP; 0: no response, or no request sent */
    cJSON *json;        /* owned; NULL without a JSON body */
    struct error error; /* why there is no response */
};

struct doctor_api {
    bool has_config, has_credentials;
    struct error error; /* why one of them is missing */
    char server[256], origin[256];
    char certificate_user[256]; /* its common name; "" without a certificate */
    bool has_certificate;
    struct timespec certificate_expiry;
    struct doctor_answer answers[DOCTOR_REQUESTS];
};

/*
 * Send the requests, one after the other, with a few seconds for each.
 * *ret_api: doctor_api_deinit() is due
 */
void doctor_api_collect(const struct doctor_options *options, struct doctor_api *ret_api);
void doctor_api_deinit(struct doctor_api *api);

/* @now: wall clock */
void doctor_api_evaluate(const struct doctor_api *api, const struct doctor_options *options,
                         struct timespec now, struct doctor_report *report);
