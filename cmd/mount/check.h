/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * `secretfs mount --check`: what a start does with the stored mount and the configuration, without
 * serving, mounting or requesting anything. A keeper runs it before a hand-over, beside the process
 * that serves.
 */
#include "cmd/mount/options.h"

#define MOUNT_HANDOVER_NAME "mount" /* of the file system among the stored descriptors */

/*
 * Thread: the first one, before there are others.
 * Return: 0: a process with these options could start and take over what is stored; -errno with @e.
 */
int mount_check(const struct mount_options *options, struct error *e);
