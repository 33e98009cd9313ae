/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `secretfs keeper`: runs secretfs-keeper(8). */
#include "cmd/shared/command.h"

command_fn command_keeper;
