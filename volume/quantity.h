/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Kubernetes' resource quantities, such as "250m", "1.5Gi" and "2e3". Pure functions. */
#include "base/util.h"

struct quantity {
    unsigned __int128 digits; /* times 10 to the power of exp10, times 2 to that of exp2 */
    int exp10;
    unsigned exp2;
};

/*
 * Parse a quantity that is not negative.
 * Return: 0; -EINVAL.
 */
int quantity_parse(const char *text, struct quantity *ret_quantity);

bool quantity_is_zero(const struct quantity *quantity);

/*
 * Count in units of 10 to the power of -@places, rounded up.
 * @places: 0: whole units; 3: thousandths
 * Return: at most INT64_MAX.
 */
int64_t quantity_count(const struct quantity *quantity, int places);
