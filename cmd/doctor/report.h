/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The report of `secretfs doctor`: a finding for each check, with a remedy. See report.c. */
#include "base/buf.h"
#include "base/error.h"

enum doctor_result {
    DOCTOR_OK,
    DOCTOR_WARN, /* works, with a restriction */
    DOCTOR_FAIL, /* pods do not get their volumes */
};

#define DOCTOR_FINDINGS_MAX 40 /* twice the number of checks */

struct doctor_finding {
    enum doctor_result result;
    const char *check;   /* a constant */
    struct error text;   /* the state, and why it matters */
    struct error remedy; /* what to do; "" for nothing */
};

struct doctor_report {
    struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
    size_t n_findings;
};

/* Add a finding. */
void doctor_add(struct doctor_report *report, enum doctor_result result, const char *check,
                const char *format, ...) PRINTF_LIKE(4, 5);
/* Set the remedy of the last finding. */
void doctor_remedy(struct doctor_report *report, const char *format, ...) PRINTF_LIKE(2, 3);

/* The worst of all findings. */
enum doctor_result doctor_result_of(const struct doctor_report *report);

/* Append the report for people, or as JSON. Return: 0; -ENOMEM; -EFBIG. */
int doctor_print(const struct doctor_report *report, struct buf *text);
int doctor_print_json(const struct doctor_report *report, struct buf *text);
