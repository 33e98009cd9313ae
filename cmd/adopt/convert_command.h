/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs convert`. */
#include "cmd/shared/command.h"

command_fn command_convert;
