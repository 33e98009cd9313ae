/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Health pages in the format of Kubernetes' own components. */
#include "encoding/json.h"
#include "monitor/http_server.h"

struct health_check {
    const char *name;     /* a word; borrowed */
    struct error problem; /* empty if the check passed, or is pending */
    bool is_pending;      /* the outcome is not known yet */
};

/*
 * Write the response: 200 and "ok" if all checks passed, else 503 with a line for each check.
 * @page: "readyz"
 * @checks: in the order of the lines
 * @is_verbose: write a line for each check also if all passed
 * Return: 0 or -ENOMEM.
 */
int health_answer(const char *page, const struct health_check *checks, size_t n_checks,
                  bool is_verbose, struct http_server_answer *answer);

/*
 * The same for `secretfs health`, as JSON.
 * @n_live: how many of the checks are those of liveness; the others follow
 * Return: the caller's; NULL when memory runs out.
 */
cJSON *health_document(const struct health_check *checks, size_t n_live, size_t n_checks);

enum health_outcome {
    HEALTH_PASSED,
    HEALTH_PENDING, /* no check failed, and one is pending */
    HEALTH_FAILED,
};

/*
 * Read such a document.
 * @is_readiness: with the checks of readiness
 * @e: what failed, or what is pending
 * Return: the outcome; -EINVAL with @e for another document.
 */
int health_parse(const cJSON *document, bool is_readiness, struct error *e);
