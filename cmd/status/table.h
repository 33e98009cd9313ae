/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The table of `secretfs status`: a line for each volume, in columns of which all but the last have
 * no blanks in them, so that scripts can cut it apart.
 */
#include "base/buf.h"
#include "base/clock.h"
#include "encoding/json.h"

#define STATUS_COLUMNS_MAX 16

struct status_table {
    bool is_wide;
    bool has_header;                   /* it is printed, or is not to be */
    size_t widths[STATUS_COLUMNS_MAX]; /* of the lines so far, so that more fit below them */
};

/*
 * Append lines for the volumes, below a header if there is none yet.
 * @volumes: an array of what status_ask_all() gives
 * @now: what ages are reckoned to
 * Return: 0; -ENOMEM; -EFBIG at the buffer's limit.
 */
int status_table_print(struct status_table *table, const cJSON *volumes, struct timespec now,
                       struct buf *text);

/* Whether two states of a volume look alike in the table, but for their age. */
bool status_table_same(const struct status_table *table, const cJSON *a, const cJSON *b);

/* As kubectl shows spans of time: "5s", "3m20s", "2d4h". Return: @buf. */
#define STATUS_AGE_SIZE 48 /* two of the greatest numbers */
const char *status_age(uint64_t seconds, char buf[static STATUS_AGE_SIZE]);
