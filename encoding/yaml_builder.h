/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * Makes cJSON values of libyaml's events, without a tree in between. See yaml_builder.c.
 *
 * Thread: any; a builder is one thread's at a time.
 */
#include <yaml.h>

#include "encoding/yaml_limits.h"

struct yaml_builder;

/*
 * @lines_before: lines of the stream above the text that is parsed, for errors
 * @keeps_nul: strings may have NULs, as JSON_NUL
 * @e: of all events; outlives the builder
 * Return: the caller's; NULL: out of memory.
 */
struct yaml_builder *yaml_builder_new(size_t lines_before, bool keeps_nul, struct error *e);
struct yaml_builder *yaml_builder_free(struct yaml_builder *b);
DEFINE_CLEANUP(struct yaml_builder *, yaml_builder_free)

/*
 * Take the next event, which stays the caller's.
 * Return: 0; -EINVAL with line and column in @e; -ENOMEM. After an error the builder is of no use.
 */
int yaml_builder_add(struct yaml_builder *b, const yaml_event_t *event);

/* Return: the line where the document's content begins, counted from 1; 0: it has none yet. */
size_t yaml_builder_line(const struct yaml_builder *b);

/*
 * Called after YAML_DOCUMENT_END_EVENT; the builder is empty then.
 * Return: the document, the caller's; NULL: it has no content.
 */
cJSON *yaml_builder_take(struct yaml_builder *b);
