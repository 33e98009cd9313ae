/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs observe`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_observe;

/* For completion. */
extern const struct option observe_long_options[];
