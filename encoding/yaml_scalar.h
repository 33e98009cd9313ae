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
};

/*
 * @text: NUL-terminated, @len bytes
 * Return: its meaning to kubectl (go-yaml v2, which sigs.k8s.io/yaml uses).
 */
struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len);
