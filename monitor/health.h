/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The texts of health pages, as those of Kubernetes' own components look. */
#include "monitor/http_server.h"

struct health_check {
    const char *name;     /* a word; borrowed */
    struct error problem; /* empty if all is well */
};

/*
 * Write the answer: 200 and "ok" if all is well, else 503 with what is not.
 * @page: "readyz"
 * @checks: in the order in which they are to be shown
 * @is_verbose: show each check, also if all is well
 * Return: 0 or -ENOMEM.
 */
int health_answer(const char *page, const struct health_check *checks, size_t n_checks,
                  bool is_verbose, struct http_server_answer *answer);
