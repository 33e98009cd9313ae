/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The helper of mount(8): mount.fuse.secretfs. */
#include "cmd/shared/command.h"

command_fn command_mount_helper;
