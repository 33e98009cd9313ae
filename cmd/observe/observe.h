/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* Watches mounted volumes and prints their updates, of secretfs or of the kubelet. */
#include "cmd/shared/source_options.h"

struct observe_options {
    char *const *paths;
    size_t n_paths;
    bool as_json;
    unsigned long count;        /* of updates of each volume, then it ends; 0: no limit */
    const char *object;         /* whose changes are watched: "secret/NAME"; NULL: none */
    struct source_options from; /* of the object */
};

/*
 * Print updates to standard output until the count is reached, or the reader closes it.
 * Return: 0; -EINVAL with @e: a path is not a volume; -ENODEV with @e: a volume is gone; -errno
 * with @e.
 */
int observe(const struct observe_options *options, struct error *e);
