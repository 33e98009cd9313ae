/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs unmount`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_unmount;

/* For completion. */
extern const struct option unmount_long_options[];
