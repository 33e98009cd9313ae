/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * One mounted volume and everything behind it: source -> store -> volume -> publisher -> mount. See
 * mount.c.
 */
#include "cmd/mount/background.h"
#include "cmd/mount/options.h"

/*
 * Mount, and serve until a signal or an unmount ends it. Unless the options say foreground, the
 * process becomes a keeper in the background, whose child does that. With --check nothing is
 * mounted.
 * @background: of background_of_environment()
 * @command: the whole command line, ended by NULL, for that child
 * Thread: the first one, before there are others.
 * Return: 0; -errno with @e when the volume did not become readable, or the loop failed.
 */
int mount_run(const struct mount_options *options, enum background background, char *const *command,
              struct error *e);
