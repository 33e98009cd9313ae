/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * When a volume that shows an older version of an object shows the newest one. Each volume decides
 * by itself, by the object's annotations (cache/annotations.h) and by its place among the volumes
 * of the object: there is no coordinator, and a node needs to know nothing about others. See
 * staging.c.
 */
#include "cache/object.h"

/* The least place is the first to get an update. */
#define STAGING_PLACES (UINT64_C(1) << 32)

/*
 * The place of a volume for the content of an object: the same wherever it is computed, and
 * independent of the volume's places for other contents.
 * @who: what is unique to the volume, such as its pod's uid
 * Return: less than STAGING_PLACES
 */
uint64_t staging_place(const char *who, const struct object *object);

/*
 * How long after the content, or how it is staged, has changed on the node a volume shows it.
 * Longer for a greater place, and never longer for a greater first_percent.
 * @labels: of the volume's pod, as for pod_selector_matches(); NULL: it has none, or they are
 * unknown
 * Return: SPAN_FOREVER: not before the annotations or the labels change
 */
span_us staging_delay(const struct object_staging *staging, uint64_t place, const char *labels);

/* Say why a volume does not show the update yet. @staging, @labels: as for staging_delay() */
void staging_explain(const struct object_staging *staging, const char *labels, struct error *e);
