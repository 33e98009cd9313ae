/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Watches a mounted volume and prints its updates, of secretfs or of the kubelet. */
#include "base/error.h"

struct observe_options {
    const char *path;
    bool as_json;
    unsigned long count; /* of updates, then it ends; 0: no limit */
};

/*
 * Print updates to standard output until the count is reached.
 * Return: 0; -EINVAL with @e: the path is not a volume; -ENODEV with @e: the volume is gone; -errno
 * with @e.
 */
int observe(const struct observe_options *options, struct error *e);
