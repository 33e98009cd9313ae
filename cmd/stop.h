/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs stop`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_stop;

/* For completion. */
extern const struct option stop_long_options[];
