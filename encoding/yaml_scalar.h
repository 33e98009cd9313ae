/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The meaning of plain scalars of YAML, for yaml.c. */
#include "base/util.h"

enum yaml_scalar_kind {
    SCALAR_TEXT,
    SCALAR_NULL,
    SCALAR_BOOL,
    SCALAR_NUMBER,
    SCALAR_NOT_FINITE, /* infinity or NaN, which JSON does not have */
};

struct yaml_scalar {
    enum yaml_scalar_kind kind;
    bool is_true;  /* of SCALAR_BOOL */
    double number; /* of SCALAR_NUMBER */
    /* of a SCALAR_NUMBER that is an integer of 64 bits, whose number is rounded above 2^53 */
    bool is_integer;
    bool is_negative;
    unsigned long long magnitude;
};

/*
 * @text: NUL-terminated, @len bytes
 * Return: its meaning to kubectl (go-yaml v2, which sigs.k8s.io/yaml uses).
 */
struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len);

/*
 * The text of a number that is a key of a mapping. Integers keep all their digits; floats have the
 * precision of 32 bits, in the form of %g, as in sigs.k8s.io/yaml.
 * Return: @buf; NULL for an integer above INT64_MAX, which is not a key there.
 */
#define YAML_SCALAR_KEY_SIZE 32
const char *yaml_scalar_key_text(const struct yaml_scalar *scalar,
                                 char buf[static YAML_SCALAR_KEY_SIZE]);
