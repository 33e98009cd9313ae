/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * `secretfs node --check`: what a start does with the stored file system and the configuration,
 * without serving, mounting or requesting anything. A keeper runs it before a hand-over, beside the
 * daemon that serves.
 */
#include "node/options.h"

/*
 * Thread: the first one, before there are others.
 * Return: 0: a daemon with these options could start and take over what is stored; -errno with @e.
 */
int node_check(const struct node_options *options, struct error *e);

/* Whether this user and these directories let a daemon start. Return: 0; -errno with @e. */
int node_check_host(const struct node_options *options, struct error *e);
