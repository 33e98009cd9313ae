/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs audit`: prints the lines of the audit. */
#include <getopt.h>

#include "cmd/shared/command.h"

command_fn command_audit;

/* For completion. */
extern const struct option audit_long_options[];
