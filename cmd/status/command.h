/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs status`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_status;

/* For completion. */
extern const struct option status_long_options[];
extern const char *const status_output_words[]; /* NULL-terminated: what -o takes */
