/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The table of `secretfs status`: a line for each volume. Only the last column has blanks in it, so
 * that scripts can split lines.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "encoding/json.h"

#define STATUS_COLUMNS_MAX 20

struct status_table {
    bool is_wide;
    bool has_nodes;                    /* volumes of several nodes */
    bool is_coloured;                  /* states in colour, for a terminal */
    bool has_header;                   /* it was printed, or --no-headers */
    size_t widths[STATUS_COLUMNS_MAX]; /* of all lines so far, so that later lines align */
};

/*
 * Append lines for the volumes, below a header if there is none yet.
 * @volumes: "items" of status_request_all()
 * @now: wall clock, for ages
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int status_table_print(struct status_table *table, const cJSON *volumes, struct timespec now,
                       struct buf *text);

/* Whether two states of a volume have the same line, except for the age. */
bool status_table_same(const struct status_table *table, const cJSON *a, const cJSON *b);

/* A duration as kubectl prints it: "5s", "3m20s", "2d4h". Return: @buf. */
#define STATUS_AGE_SIZE 48 /* two numbers of 20 digits */
const char *status_age(uint64_t seconds, char buf[static STATUS_AGE_SIZE]);
