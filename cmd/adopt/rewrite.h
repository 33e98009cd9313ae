/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* From the plan of a pod to edits of its text, and to the JSON that they should result in. */
#include "cmd/adopt/edits.h"
#include "cmd/adopt/plan.h"

/* A text of YAML_MAX_BYTES grows to a few times that, if its lines are short. */
#define REWRITE_MAX_BYTES ((size_t)128 << 20)

/* A document's text in the whole. */
struct rewrite_text {
    const char *text; /* that the places count from */
    size_t len;
    size_t offset;       /* of @text in what the edits change */
    const char *newline; /* for lines that are added */
};

/*
 * Add the edits that the plan demands, and change the JSON accordingly: the plan is used up.
 * Return: 0; -EINVAL with @e if the text has a form that cannot be edited; -ENOMEM.
 */
int rewrite_pod(const struct rewrite_text *text, const struct plan *plan, struct edits *edits,
                struct error *e);
