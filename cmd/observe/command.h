/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs observe`. */
#include "cmd/shared/command.h"

command_fn command_observe;
