/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs rollout status`: waits until all consumers have the newest version of an object. */
#include <getopt.h>

#include "cmd/shared/command.h"

/* Exit code besides those of all commands: opens were missed or are not noted. */
#define EXIT_ROLLOUT_UNSEEN 3

command_fn command_rollout;

/* For completion. */
extern const struct option rollout_long_options[];
extern const char *const rollout_verbs[]; /* NULL-terminated */
