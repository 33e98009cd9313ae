/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * YAML and JSON text to cJSON, with the meaning that kubectl gives it: see yaml.c.
 */
#include <cjson/cJSON.h>

#include "base/error.h"

/* Far above any manifest that an API server would take; they bound what hostile text can cost. */
#define YAML_MAX_BYTES  (16u << 20) /* of text; and again of what aliases and merges may repeat */
#define YAML_MAX_DEPTH  256u        /* a CustomResourceDefinition's schema reaches about 60 */
#define YAML_MAX_VALUES 400000u     /* of one document, aliases expanded */

/* One document of a stream, shown to a yaml_document_fn. */
struct yaml_document {
    cJSON *json;        /* owned by the parser unless the callback takes it; NULL if result < 0 */
    size_t line;        /* where its content begins, counted from 1 */
    int result;         /* 0, -EINVAL for text that is no good, -ENOMEM */
    struct error error; /* names line and column, never a value; empty if result is 0 */
};

/* Return: 0 to go on; anything else ends the parse and is returned by it. */
typedef int yaml_document_fn(void *userdata, struct yaml_document *document);

/*
 * Parse a stream of documents. Empty ones are left out. A bad document does not keep the next ones
 * from being parsed, as the text is first divided at its "---" lines.
 * Return: 0; what @found returned; -EINVAL with @e when nothing of the text can be used: not UTF-8,
 * a NUL byte, or longer than YAML_MAX_BYTES.
 */
int yaml_parse_documents(const char *text, size_t len, yaml_document_fn *found, void *userdata,
                         struct error *e);

/*
 * Parse text that is to hold one document.
 * Return: 0, *ret_json is the caller's (a cJSON null if there is nothing but comments); -EINVAL
 * with
 * @e when the text is no good or holds a second document; -ENOMEM.
 */
int yaml_parse_one(const char *text, size_t len, cJSON **ret_json, struct error *e);

/*
 * Whether a string stood there as a !!binary scalar. Its text is the base64 as written; who knows
 * what the place is for decodes it, or not.
 */
bool yaml_is_binary(const cJSON *value);
