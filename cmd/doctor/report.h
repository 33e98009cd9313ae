/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * What `secretfs doctor` finds: a line for each check, and what to do where it is not well. See
 * doctor.c.
 */
#include "base/buf.h"
#include "base/error.h"

enum doctor_result {
    DOCTOR_OK,
    DOCTOR_WARN, /* it works, but not as well as it could, or not for everybody */
    DOCTOR_FAIL, /* pods will not get their volumes */
};

#define DOCTOR_FINDINGS_MAX 40 /* twice as many as there are checks */

struct doctor_finding {
    enum doctor_result result;
    const char *check;   /* a constant */
    struct error text;   /* what was found */
    struct error remedy; /* what to do; "" if nothing */
};

struct doctor_report {
    struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
    size_t n_findings;
};

/* Add what was found. The remedy may follow with doctor_remedy(). */
void doctor_add(struct doctor_report *report, enum doctor_result result, const char *check,
                const char *format, ...) PRINTF_LIKE(4, 5);
/* What to do about the last finding. */
void doctor_remedy(struct doctor_report *report, const char *format, ...) PRINTF_LIKE(2, 3);

/* The worst of all findings. */
enum doctor_result doctor_result_of(const struct doctor_report *report);

/* Append the report for people, or as JSON. Return: 0; -ENOMEM; -EFBIG. */
int doctor_print(const struct doctor_report *report, struct buf *text);
int doctor_print_json(const struct doctor_report *report, struct buf *text);
