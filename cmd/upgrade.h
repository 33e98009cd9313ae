/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs upgrade`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_upgrade;

/* For completion. */
extern const struct option upgrade_long_options[];
