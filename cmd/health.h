/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs health`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_health;

/* For completion. */
extern const struct option health_long_options[];
