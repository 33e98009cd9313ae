/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Keys and values of labels. */
#include "base/util.h"

/*
 * Whether the API server accepts it: "NAME" or "PREFIX/NAME".
 * @text: of @len bytes, none of them NUL
 * Source: IsQualifiedName() in apimachinery.
 */
bool label_key_is_valid(const char *text, size_t len);
/* The same of a value, which may be empty. Source: IsValidLabelValue(). */
bool label_value_is_valid(const char *text, size_t len);
