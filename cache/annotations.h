/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Annotations of Secrets and ConfigMaps by which their authors say how an update reaches volumes.
 */
#include <cjson/cJSON.h>

#include "cache/object.h"

#define ANNOTATION_PAUSE         "secretfs.io/pause"         /* "true" or "false" */
#define ANNOTATION_ROLLOUT_OVER  "secretfs.io/rollout-over"  /* a duration: "10m" */
#define ANNOTATION_ROLLOUT_FIRST "secretfs.io/rollout-first" /* "10%", or a label selector */

/*
 * @annotations: metadata.annotations, or NULL
 * @ret_staging: a selector is borrowed from @annotations. With `invalid`, the others are as if they
 * were not annotated, but for a selector that staging_explain() finds fault with
 */
void annotations_read_staging(const cJSON *annotations, struct object_staging *ret_staging);
