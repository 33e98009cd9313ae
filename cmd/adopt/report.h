/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Which volumes of a pod secretfs serves, and why it does not serve others. */
#include <cjson/cJSON.h>

#include "base/buf.h"

#define REPORT_REASON_MAX 4096u /* longer reasons are cut */

struct report {
    size_t n_served;
    size_t n_volumes;  /* of the kinds that are adopted, as far as the namespace's labels say so */
    struct buf reason; /* empty if all are served */
};

#define REPORT_INIT                                                                                \
    (struct report)                                                                                \
    {                                                                                              \
        .reason = BUF_INIT(REPORT_REASON_MAX)                                                      \
    }

/*
 * @namespace: the metadata of its namespace; NULL: unknown, which counts as without labels
 * @report:    empty
 * Return: 0; -ENOMEM.
 */
int report_pod(const cJSON *pod, const cJSON *namespace, struct report *report);

void report_deinit(struct report *report);
