/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Health pages in the format of Kubernetes' own components. */
#include "monitor/http_server.h"

struct health_check {
    const char *name;     /* a word; borrowed */
    struct error problem; /* empty if the check passed */
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
