/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs convert`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_convert;

/* For completion. */
extern const struct option convert_long_options[];
