/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* `kubectl secretfs doctor`: the reports of all nodes. */
#include "cmd/shared/command.h"

/*
 * Run `secretfs doctor` on each node whose daemon is a pod, and print the reports, each below the
 * name of its node.
 */
command_fn doctor_cluster;
