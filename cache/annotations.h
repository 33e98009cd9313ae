/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Annotations of Secrets and ConfigMaps by which their authors say how an update reaches volumes.
 */
#include <cjson/cJSON.h>

#include "cache/object.h"

#define ANNOTATION_PAUSE         "secretfs.io/pause"         /* "true" or "false" */
#define ANNOTATION_ROLLOUT_OVER  "secretfs.io/rollout-over"  /* a duration: "10m" */
#define ANNOTATION_ROLLOUT_FIRST "secretfs.io/rollout-first" /* a percentage: "10%" */

/*
 * @annotations: metadata.annotations, or NULL
 * @ret_staging: with `invalid`, the others are as if they were not annotated
 */
void annotations_read_staging(const cJSON *annotations, struct object_staging *ret_staging);
