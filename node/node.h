/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * The node daemon, `secretfs node`. See node.c.
 *
 * Thread: the event loop's.
 */
#include "node/options.h"

/*
 * Serve until a signal ends the loop.
 * Return: 0; -errno with @e when it could not start, or could not continue.
 */
int node_run(const struct node_options *options, struct error *e);
