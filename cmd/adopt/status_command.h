/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs adopt status`. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_adopt;

/* For completion. */
extern const struct option adopt_long_options[];
extern const char *const adopt_verbs[]; /* NULL-terminated */
