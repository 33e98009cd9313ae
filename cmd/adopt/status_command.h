/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs adopt status`. */
#include "cmd/shared/command.h"

command_fn command_adopt;
