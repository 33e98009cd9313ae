/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A LabelSelector of the API (matchLabels, matchExpressions) as the text of a request. */
#include <cjson/cJSON.h>

#include "base/error.h"
#include "encoding/field.h"

/* The kubelet's limit is 100 KiB; an API server reads this one, with its escapes, in a URL. */
#define LABEL_SELECTOR_MAX_BYTES 16384u

/* Selects nothing: no object has a label and does not have it. */
#define LABEL_SELECTOR_NOTHING "none,!none"

/*
 * @selector: the value of @field; an empty one selects everything, the text ""; NULL selects
 *            nothing (Y15)
 * @ret_text: the caller's, for free()
 * Return: 0; -EINVAL for what the API server refuses, with the field's path in @e; -E2BIG with @e;
 * -ENOMEM.
 * Source: LabelSelectorAsSelector() in apimachinery.
 */
int label_selector_text(const cJSON *selector, const struct field *field, char **ret_text,
                        struct error *e);
