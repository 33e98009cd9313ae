/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * YAML and JSON text to cJSON, with the meaning that kubectl gives it: see yaml.c and
 * yaml_builder.c.
 *
 * Thread: any.
 */
#include "encoding/yaml_limits.h"

/* One document of a stream, passed to a yaml_document_fn. */
struct yaml_document {
    cJSON *json;        /* owned by the parser unless the callback takes it; NULL if result < 0 */
    size_t line;        /* where its content begins, counted from 1 */
    int result;         /* 0; -EINVAL for an invalid document; -ENOMEM */
    struct error error; /* names line and column, never a value; empty if result is 0 */
    const char *text;   /* the bytes of the stream that have this document, borrowed */
    size_t len;
    size_t text_line; /* of the first of these bytes, counted from 1 */
};

/* Return: 0 to continue; any other value ends the parse, which returns it. */
typedef int yaml_document_fn(void *userdata, struct yaml_document *document);

/*
 * Parse a stream of documents. Empty ones are skipped. Documents after an invalid one are parsed as
 * well, as the text is first divided at its "---" lines. A NUL in a string becomes JSON_NUL.
 * Return: 0; that of @found; -EINVAL with @e if the whole text is unusable: not UTF-8, with a NUL
 * byte, or longer than YAML_MAX_BYTES.
 */
int yaml_parse_documents(const char *text, size_t len, yaml_document_fn *found, void *userdata,
                         struct error *e);

/*
 * Parse text that must hold one document. A last line without a newline gets one, as by the line
 * reader of Kubernetes: it is a part of a block scalar.
 * Return: 0, *ret_json is the caller's (a cJSON null if there are only comments); -EINVAL with @e
 * for invalid text or a second document; -ENOMEM.
 */
int yaml_parse_one(const char *text, size_t len, cJSON **ret_json, struct error *e);

/*
 * The same for a file that Kubernetes does not read line by line, which is a kubeconfig: a last
 * line without a newline gets none.
 */
int yaml_parse_verbatim(const char *text, size_t len, cJSON **ret_json, struct error *e);
