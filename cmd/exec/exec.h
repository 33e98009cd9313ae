/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* A command with objects in its environment. See exec.c. */
#include "cmd/exec/options.h"

/*
 * Run the command. With --on-change ignore it replaces this process, and this returns on failure
 * only.
 * Thread: the first one, before there are others.
 * Return: the exit status of the command, or the one that reports our own failure, with @e.
 */
int exec_run(const struct exec_options *options, struct error *e);
