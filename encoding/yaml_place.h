/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Where the values of a YAML or JSON document are in its text, for edits that leave the rest as it
 * is, comments included.
 */
#include "base/cleanup.h"
#include "base/error.h"

enum yaml_place_kind { PLACE_SCALAR, PLACE_MAPPING, PLACE_SEQUENCE, PLACE_ALIAS };

/* A value. The children of a mapping are its keys and values in turn. */
struct yaml_place {
    enum yaml_place_kind kind;
    bool is_flow;    /* a mapping or sequence in brackets, as in JSON */
    bool has_anchor; /* an edit of it would be an edit of its aliases */
    char *value;     /* of a scalar, up to its first NUL; NULL for other kinds */
    size_t begin;    /* bytes in the text; with a tag or an anchor, that of these */
    size_t end;      /* behind its last byte, without comments and blank lines that follow */
    size_t line;     /* counted from the line that the text has */
    size_t column;   /* in characters, counted from 0 */
    struct yaml_place *parent, *child, *last_child, *next;
};

/*
 * Find the places of the document that begins at @root_line.
 * @text:      that of a struct yaml_document, so UTF-8, and within the limits of yaml.h
 * @text_line: the number of the text's first line
 * Return: 0, *ret_root is the caller's; -EINVAL with @e if libyaml refuses the text, as it does
 * with
 * \' in double quotes and some control characters of JSON, or if no document begins there; -ENOMEM.
 */
int yaml_place_parse(const char *text, size_t len, size_t text_line, size_t root_line,
                     struct yaml_place **ret_root, struct error *e);

/* Return: NULL. */
struct yaml_place *yaml_place_free(struct yaml_place *root);
DEFINE_CLEANUP(struct yaml_place *, yaml_place_free)

/* The place of a mapping's key. Return: borrowed, its value is its next; NULL if it has no own. */
const struct yaml_place *yaml_place_key(const struct yaml_place *mapping, const char *key);

/* The place of a mapping's value. Return: borrowed; NULL if the mapping itself has none. */
const struct yaml_place *yaml_place_member(const struct yaml_place *mapping, const char *key);
