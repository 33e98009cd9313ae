/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* What a plain scalar of YAML means: a part of yaml.h. */
#include "base/util.h"

enum yaml_scalar_kind {
    SCALAR_TEXT,
    SCALAR_NULL,
    SCALAR_BOOL,
    SCALAR_NUMBER,
    SCALAR_NOT_FINITE, /* an infinity or no number, which JSON does not have */
};

struct yaml_scalar {
    enum yaml_scalar_kind kind;
    bool is_true;  /* of SCALAR_BOOL */
    double number; /* of SCALAR_NUMBER */
};

/*
 * @text: NUL-terminated, @len bytes
 * Return: what kubectl takes it for (go-yaml v2, as sigs.k8s.io/yaml has it).
 */
struct yaml_scalar yaml_scalar_resolve(const char *text, size_t len);
